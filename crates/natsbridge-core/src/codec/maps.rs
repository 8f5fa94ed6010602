//! Tells a JSON formatter which objects are maps: their keys may repeat, and those of structs do not.

use std::cell::Cell;
use std::fmt::Display;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value or a serializer of one, and what is told of the object that begins next
#[derive(Debug)]
pub(super) struct Watched<'a, T> {
    inner: T,
    is_map: &'a Cell<bool>,
}

impl<'a, T> Watched<'a, T> {
    pub(super) fn new(inner: T, is_map: &'a Cell<bool>) -> Self {
        Self { inner, is_map }
    }
}

impl<T: Serialize + ?Sized> Serialize for Watched<'_, &T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(Watched::new(serializer, self.is_map))
    }
}

/// Methods that pass a value on as it is
macro_rules! same {
    ($($method:ident: $type:ty,)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

/// Traits that take the parts of a value one after the other: method, and the key that goes before the part
macro_rules! parts {
    ($($trait:ident.$method:ident($($key:ident: $type:ty)?);)*) => {$(
        impl<S: $trait> $trait for Watched<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $($key: $type,)? value: &T) -> Result<(), S::Error> {
                self.inner.$method($($key,)? &Watched::new(value, self.is_map))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

parts! {
    SerializeSeq.serialize_element();
    SerializeTuple.serialize_element();
    SerializeTupleStruct.serialize_field();
    SerializeTupleVariant.serialize_field();
    SerializeStruct.serialize_field(key: &'static str);
    SerializeStructVariant.serialize_field(key: &'static str);
}

impl<S: SerializeMap> SerializeMap for Watched<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.inner.serialize_key(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.inner.serialize_value(&Watched::new(value, self.is_map))
    }

    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

impl<'a, S: Serializer> Serializer for Watched<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Watched<'a, S::SerializeSeq>;
    type SerializeTuple = Watched<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Watched<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Watched<'a, S::SerializeTupleVariant>;
    type SerializeMap = Watched<'a, S::SerializeMap>;
    type SerializeStruct = Watched<'a, S::SerializeStruct>;
    type SerializeStructVariant = Watched<'a, S::SerializeStructVariant>;

    same! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&Watched::new(value, self.is_map))
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(self, name: &'static str, at: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, at, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Watched::new(value, self.is_map))
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.is_map.set(false);
        self.inner.serialize_newtype_variant(name, at, variant, &Watched::new(value, self.is_map))
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.inner.serialize_seq(len).map(|inner| Watched::new(inner, self.is_map))
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.inner.serialize_tuple(len).map(|inner| Watched::new(inner, self.is_map))
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.inner.serialize_tuple_struct(name, len).map(|inner| Watched::new(inner, self.is_map))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.is_map.set(false);
        self.inner.serialize_tuple_variant(name, at, variant, len).map(|inner| Watched::new(inner, self.is_map))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.is_map.set(true);
        self.inner.serialize_map(len).map(|inner| Watched::new(inner, self.is_map))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.is_map.set(false);
        self.inner.serialize_struct(name, len).map(|inner| Watched::new(inner, self.is_map))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        // Both objects, the variant's and the one around it, have names from the program's text.
        self.is_map.set(false);
        self.inner.serialize_struct_variant(name, at, variant, len).map(|inner| Watched::new(inner, self.is_map))
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}
