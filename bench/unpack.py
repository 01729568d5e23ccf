"""The same model with every weight in F32: `python bench/unpack.py MODEL.gguf OUT.gguf`; needs `pip install gguf`.

llama.cpp rounds activations to 8 bits where weights are packed, and not where they are F32, so that its vectors from
OUT are what MODEL means: `against-llama.mjs MODEL.gguf --theirs OUT.gguf`. The whole model is in memory on the way.
"""

import sys

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter, dequantize

source, target = sys.argv[1:]
reader = GGUFReader(source)
writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
for key, field in reader.fields.items():
    if key.startswith("GGUF.") or key == "general.architecture":
        continue  # the writer has its own
    value = 0 if key == "general.file_type" else field.contents()
    if field.types[0] == GGUFValueType.ARRAY:
        writer.add_array(key, value)
    else:
        writer.add_key_value(key, value, field.types[0])
for tensor in reader.tensors:
    shape = [int(n) for n in reversed(tensor.shape)]
    writer.add_tensor(tensor.name, np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
