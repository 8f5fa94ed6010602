//! Declares the setters of options, each by the one line that sets it.

macro_rules! setters {
    ($($(#[$doc:meta])* fn $name:ident($this:ident $(, $value:ident: $type:ty)*) { $($set:tt)+ })+) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut $this $(, $value: $type)*) -> Self {
            $($set)+;
            $this
        })+
    };
}

pub(crate) use setters;
