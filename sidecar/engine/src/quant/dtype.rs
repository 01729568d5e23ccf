//! The table of the formats that this build can unpack.

use super::{float, k_quants, q4_q5, q8_0};

/// Unpacks whole blocks of packed weights into as many floats as the blocks hold.
pub type Unpack = fn(packed: &[u8], out: &mut [f32]);

/// Makes [`DType`] and all its methods from one table: name, number in a GGUF file, values and bytes of a block, unpacker.
macro_rules! formats {
    ($($name:ident: $id:literal, $values:expr, $bytes:expr, $unpack:path;)+) => {
        /// The storage format of a tensor's numbers.
        #[allow(non_camel_case_types, reason = "the spelling of the GGUF specification")]
        #[allow(missing_docs, reason = "the variants are the specification's names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DType {
            $($name),+
        }

        impl DType {
            /// The names of all formats, for error messages: "F32, F16, ...".
            pub(crate) const SUPPORTED: &str = {
                let list = concat!($(stringify!($name), ", "),+);
                list.split_at(list.len() - ", ".len()).0
            };

            /// The format with this number in a GGUF file; `None` if this build cannot unpack it.
            pub(crate) fn from_id(id: u32) -> Option<DType> {
                match id {
                    $($id => Some(DType::$name),)+
                    _ => None,
                }
            }

            /// Values in one block. A row is a whole number of blocks.
            pub fn block_len(self) -> usize {
                match self {
                    $(DType::$name => $values),+
                }
            }

            /// Bytes of one block.
            pub fn block_bytes(self) -> usize {
                match self {
                    $(DType::$name => $bytes),+
                }
            }

            /// The name in the specification's spelling.
            pub fn name(self) -> &'static str {
                match self {
                    $(DType::$name => stringify!($name)),+
                }
            }

            /// The unpack function of this format, compiled for any processor of the target.
            pub fn unpacker(self) -> Unpack {
                match self {
                    $(DType::$name => $unpack),+
                }
            }

            /// Unpacks whole blocks, compiled for the instruction set of the calling function.
            ///
            /// `out` has one element for each weight in `packed`; an incomplete block at the end is left alone.
            #[inline(always)]
            pub fn unpack(self, packed: &[u8], out: &mut [f32]) {
                match self {
                    $(DType::$name => $unpack(packed, out)),+
                }
            }
        }
    };
}

formats! {
    F32: 0, 1, float::F32_BYTES, float::unpack_f32;
    F16: 1, 1, float::F16_BYTES, float::unpack_f16;
    BF16: 30, 1, float::F16_BYTES, float::unpack_bf16;
    Q8_0: 8, q8_0::BLOCK, q8_0::BLOCK_BYTES, q8_0::unpack_q8_0;
    Q4_0: 2, q4_q5::BLOCK, q4_q5::Q4_0_BYTES, q4_q5::unpack_q4_0;
    Q4_1: 3, q4_q5::BLOCK, q4_q5::Q4_1_BYTES, q4_q5::unpack_q4_1;
    Q5_0: 6, q4_q5::BLOCK, q4_q5::Q5_0_BYTES, q4_q5::unpack_q5_0;
    Q5_1: 7, q4_q5::BLOCK, q4_q5::Q5_1_BYTES, q4_q5::unpack_q5_1;
    Q4_K: 12, k_quants::BLOCK, k_quants::Q4_K_BYTES, k_quants::unpack_q4_k;
    Q5_K: 13, k_quants::BLOCK, k_quants::Q5_K_BYTES, k_quants::unpack_q5_k;
    Q6_K: 14, k_quants::BLOCK, k_quants::Q6_K_BYTES, k_quants::unpack_q6_k;
}
