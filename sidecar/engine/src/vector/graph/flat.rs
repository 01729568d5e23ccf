//! A serializer that keeps only numbers: it takes the links out of `instant-distance`, whose fields are private.

use std::fmt::Display;

use serde::ser::{self, Impossible, Serialize, Serializer};

/// Every number that was serialized, little endian, and the length of every sequence, in the order they came.
#[derive(Default)]
pub(super) struct Flat {
    pub bytes: Vec<u8>,
    pub lengths: Vec<usize>,
}

/// The value has a shape that this serializer was not made for.
#[derive(Debug, thiserror::Error)]
#[error("unexpected shape: {0}")]
pub(super) struct Unexpected(String);

impl ser::Error for Unexpected {
    fn custom<T: Display>(message: T) -> Self {
        Unexpected(message.to_string())
    }
}

type Outcome<T = ()> = Result<T, Unexpected>;

fn unexpected<T>(what: &str) -> Outcome<T> {
    Err(Unexpected(what.into()))
}

impl Serializer for &mut Flat {
    type Ok = ();
    type Error = Unexpected;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Impossible<(), Unexpected>;
    type SerializeTupleVariant = Impossible<(), Unexpected>;
    type SerializeMap = Impossible<(), Unexpected>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Unexpected>;

    fn serialize_u32(self, v: u32) -> Outcome {
        self.bytes.extend_from_slice(&v.to_le_bytes());
        Ok(())
    }
    /// Skips the beam's width, which is not part of the graph.
    fn serialize_u64(self, _: u64) -> Outcome {
        Ok(())
    }
    /// Skips a point.
    fn serialize_unit(self) -> Outcome {
        Ok(())
    }
    fn serialize_seq(self, len: Option<usize>) -> Outcome<Self> {
        self.lengths.push(len.ok_or_else(|| Unexpected("a sequence without length".into()))?);
        Ok(self)
    }
    fn serialize_tuple(self, _: usize) -> Outcome<Self> {
        Ok(self)
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Outcome<Self> {
        Ok(self)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Outcome {
        value.serialize(self)
    }

    fn serialize_bool(self, _: bool) -> Outcome {
        unexpected("bool")
    }
    fn serialize_i8(self, _: i8) -> Outcome {
        unexpected("i8")
    }
    fn serialize_i16(self, _: i16) -> Outcome {
        unexpected("i16")
    }
    fn serialize_i32(self, _: i32) -> Outcome {
        unexpected("i32")
    }
    fn serialize_i64(self, _: i64) -> Outcome {
        unexpected("i64")
    }
    fn serialize_u8(self, _: u8) -> Outcome {
        unexpected("u8")
    }
    fn serialize_u16(self, _: u16) -> Outcome {
        unexpected("u16")
    }
    fn serialize_f32(self, _: f32) -> Outcome {
        unexpected("f32")
    }
    fn serialize_f64(self, _: f64) -> Outcome {
        unexpected("f64")
    }
    fn serialize_char(self, _: char) -> Outcome {
        unexpected("char")
    }
    fn serialize_str(self, _: &str) -> Outcome {
        unexpected("string")
    }
    fn serialize_bytes(self, _: &[u8]) -> Outcome {
        unexpected("bytes")
    }
    fn serialize_none(self) -> Outcome {
        unexpected("none")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Outcome {
        unexpected("some")
    }
    fn serialize_unit_struct(self, _: &'static str) -> Outcome {
        unexpected("unit struct")
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Outcome {
        unexpected("variant")
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Outcome {
        unexpected("variant")
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Outcome<Self::SerializeTupleStruct> {
        unexpected("tuple struct")
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Outcome<Self::SerializeTupleVariant> {
        unexpected("variant")
    }
    fn serialize_map(self, _: Option<usize>) -> Outcome<Self::SerializeMap> {
        unexpected("map")
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Outcome<Self::SerializeStructVariant> {
        unexpected("variant")
    }
}

impl ser::SerializeSeq for &mut Flat {
    type Ok = ();
    type Error = Unexpected;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        value.serialize(&mut **self)
    }
    fn end(self) -> Outcome {
        Ok(())
    }
}

impl ser::SerializeTuple for &mut Flat {
    type Ok = ();
    type Error = Unexpected;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Outcome {
        value.serialize(&mut **self)
    }
    fn end(self) -> Outcome {
        Ok(())
    }
}

impl ser::SerializeStruct for &mut Flat {
    type Ok = ();
    type Error = Unexpected;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Outcome {
        value.serialize(&mut **self)
    }
    fn end(self) -> Outcome {
        Ok(())
    }
}
