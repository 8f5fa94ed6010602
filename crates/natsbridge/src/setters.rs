//! Declares setters and getters, each by the one line that sets or gives it.

macro_rules! setters {
    ($($(#[$doc:meta])* fn $name:ident($this:ident $(, $value:ident: $type:ty)*) { $($set:tt)+ })+) => {
        $($(#[$doc])*
        #[must_use]
        #[allow(clippy::double_must_use, reason = "some of the types say so themselves")]
        pub fn $name(mut $this $(, $value: $type)*) -> Self {
            $($set)+;
            $this
        })+
    };
}

macro_rules! getters {
    () => {};
    ($(#[$doc:meta])* const fn $name:ident(&$this:ident) -> $type:ty { $value:expr } $($rest:tt)*) => {
        $(#[$doc])*
        #[must_use]
        pub const fn $name(&$this) -> $type {
            $value
        }
        getters! { $($rest)* }
    };
    ($(#[$doc:meta])* fn $name:ident(&$this:ident) -> $type:ty { $value:expr } $($rest:tt)*) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(&$this) -> $type {
            $value
        }
        getters! { $($rest)* }
    };
}

pub(crate) use {getters, setters};
