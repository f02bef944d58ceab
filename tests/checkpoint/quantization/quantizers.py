"""Small quantizers, one for each format: from a matrix to the tensors a checkpoint stores, and to what they stand for.

Each returns (stored tensors by suffix, the dequantized matrix in float32). Written from the formats' papers and files,
bit by bit and slowly, so that they share nothing with the code under test.
"""

import json

import numpy as np
import torch

FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
NF4 = torch.tensor([-1.0, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0, 0.07958030,
                    0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0])


def words(values, bits):
    """int32 words that hold the values as one stream of bits, lowest first."""
    number = sum(int(value) << bits * i for i, value in enumerate(values))
    return torch.from_numpy(np.frombuffer(number.to_bytes(len(values) * bits // 8, "little"), dtype="<i4").copy())


def packed(rows, bits):
    """[R, C] codes -> [R, C * bits / 32] int32."""
    return torch.stack([words(row.tolist(), bits) for row in rows])


def integer_codes(weight, bits, group_of, *, symmetric, scale_dtype=torch.float16):
    """(codes [N, K], scales [N, G], zeros [N, G], dequantized) with a group of columns for each scale."""
    num_groups = int(group_of.max()) + 1
    scales, zeros = torch.empty(2, len(weight), num_groups).unbind(0)
    for g in range(num_groups):
        part = weight[:, group_of == g]
        if symmetric:
            scales[:, g], zeros[:, g] = part.abs().amax(1) / (2 ** (bits - 1) - 1), 2 ** (bits - 1)
        else:
            low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
            scales[:, g] = (high - low) / (2**bits - 1)
            zeros[:, g] = (-low / scales[:, g]).round()
    scales = scales.to(scale_dtype)
    spread, zero = scales.float()[:, group_of], zeros[:, group_of]
    codes = ((weight / spread).round() + zero).clamp(0, 2**bits - 1)
    return codes.int(), scales, zeros.int(), (codes - zero) * spread


def neighbours(columns, group_size):
    return torch.arange(columns) // (columns if group_size == -1 else group_size)


def gptq(weight, *, bits=4, group_size=16, symmetric=True, act_order=False, less_one=True):
    group_of = neighbours(weight.shape[1], group_size)
    if act_order:
        group_of = group_of[torch.randperm(len(group_of), generator=torch.Generator().manual_seed(len(group_of)))]
    codes, scales, zeros, value = integer_codes(weight, bits, group_of, symmetric=symmetric)
    stored_zeros = (zeros - 1) % 2**bits if less_one else zeros
    return {".qweight": packed(codes, bits).t(), ".qzeros": packed(stored_zeros.t(), bits), ".scales": scales.t(),
            ".g_idx": group_of.int()}, value


def awq(weight, *, group_size=16):
    codes, scales, zeros, value = integer_codes(weight, 4, neighbours(weight.shape[1], group_size), symmetric=False)
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def shuffled(outputs):
        return packed(torch.cat([part[:, order] for part in outputs.split(8, dim=1)], dim=1), 4)

    return {".qweight": shuffled(codes.t()), ".qzeros": shuffled(zeros.t()), ".scales": scales.t()}, value


def compressed_packed(weight, *, bits=4, group_size=16, symmetric=True, act_order=False):
    group_of = neighbours(weight.shape[1], group_size)
    if act_order:
        group_of = group_of.flip(0)
    codes, scales, zeros, value = integer_codes(weight, bits, group_of, symmetric=symmetric,
                                                scale_dtype=torch.bfloat16)
    stored = {".weight_packed": packed(codes, bits), ".weight_scale": scales,
              ".weight_shape": torch.tensor(weight.shape)}
    if not symmetric:
        stored[".weight_zero_point"] = packed(zeros.t(), bits).t()
    if act_order:
        stored[".weight_g_idx"] = group_of.int()
    return stored, value


def compressed_int8(weight, *, symmetric=True, per_tensor=False):
    """W8A8: int8 with a scale for each row (or all), activations quantized as they come."""
    matrix = weight.reshape(1, -1) if per_tensor else weight
    codes, scales, zeros, value = integer_codes(matrix, 8, neighbours(matrix.shape[1], -1), symmetric=symmetric,
                                                scale_dtype=torch.float32)
    stored = {".weight": (codes - 128).to(torch.int8).view(weight.shape), ".weight_scale": scales}
    if per_tensor:
        stored[".weight_scale"] = scales.flatten()
    if not symmetric:
        stored[".weight_zero_point"] = (zeros - 128).to(torch.int8)
    return stored, value.view(weight.shape)


def float8(weight, *, block=None, per_row=False, name=".weight_scale", exponents=False):
    """float8 with a scale for each block, row, or for all."""
    rows, columns = weight.shape
    high, wide = block or ((1, columns) if per_row else (rows, columns))
    scales = torch.stack([torch.stack([part.abs().max() / 448 for part in band.split(wide, dim=1)])
                          for band in weight.split(high)])
    if exponents:
        exponent = scales.log2().ceil().int()
        scales = 2.0 ** exponent
    spread = scales.repeat_interleave(high, 0)[:rows].repeat_interleave(wide, 1)[:, :columns]
    codes = (weight / spread).to(torch.float8_e4m3fn)
    stored = (exponent + 127).to(torch.uint8).view(torch.float8_e8m0fnu) if exponents else scales
    if block is None and not per_row:
        stored = stored.reshape(())
    return {".weight": codes, name: stored}, codes.float() * spread


def nearest(values, table):
    return (values.unsqueeze(-1) - table).abs().argmin(-1)


def nvfp4(weight, *, packed_name=".weight", factor_name=".weight_scale_2", is_divisor=False):
    groups = weight.unflatten(1, (-1, 16))
    factor = weight.abs().max() / (6 * 448)
    stored_factor = (1 / factor).reshape(1) if is_divisor else factor
    scales = (groups.abs().amax(-1) / 6 / factor).to(torch.float8_e4m3fn)
    spread = (scales.float() / stored_factor if is_divisor else scales.float() * stored_factor).unsqueeze(-1)
    codes = nearest(groups / spread, FP4).flatten(1)
    return {packed_name: (codes[:, ::2] | codes[:, 1::2] << 4).to(torch.uint8), ".weight_scale": scales,
            factor_name: stored_factor}, (FP4[codes].unflatten(1, (-1, 16)) * spread).flatten(1)


def mxfp4(experts):
    """[X, K, N] -> _blocks, _scales as gpt-oss has them, and the dequantized [X, K, N]."""
    groups = experts.transpose(1, 2).unflatten(2, (-1, 32))                 # [X, N, G, 32]
    exponent = (groups.abs().amax(-1) / 6).log2().ceil().int()
    codes = nearest(groups / 2.0 ** exponent.unsqueeze(-1), FP4)
    value = (FP4[codes] * 2.0 ** exponent.unsqueeze(-1)).flatten(2).transpose(1, 2)
    return {"_blocks": (codes[..., ::2] | codes[..., 1::2] << 4).to(torch.uint8),
            "_scales": (exponent + 127).to(torch.uint8)}, value


def bitsandbytes4(weight, *, kind="nf4", block=64, nested=True):
    table = NF4 if kind == "nf4" else FP4 / 6
    flat = weight.flatten()
    scales = torch.stack([part.abs().max() for part in flat.split(block)])
    stored = {".weight.quant_map": table}
    state = {"quant_type": kind, "blocksize": block, "dtype": "float32", "shape": list(weight.shape)}
    if nested:
        offset, nested_map = scales.mean().item(), torch.linspace(-1, 1, 256)
        factors = torch.stack([(part - offset).abs().max() for part in scales.split(8)])
        spread = factors.repeat_interleave(8)[: len(scales)]
        coded = nearest((scales - offset) / spread, nested_map)
        scales = nested_map[coded] * spread + offset
        stored |= {".weight.absmax": coded.to(torch.uint8), ".weight.nested_absmax": factors,
                   ".weight.nested_quant_map": nested_map}
        state |= {"nested_blocksize": 8, "nested_dtype": "float32", "nested_offset": offset}
    else:
        stored[".weight.absmax"] = scales
    spread = scales.repeat_interleave(block)[: len(flat)]
    codes = nearest(flat / spread, table)
    stored[".weight"] = (codes[::2] << 4 | codes[1::2]).to(torch.uint8).unsqueeze(1)
    stored[f".weight.quant_state.bitsandbytes__{kind}"] = torch.tensor(list(json.dumps(state).encode()),
                                                                       dtype=torch.uint8)
    return stored, (table[codes] * spread).view(weight.shape)


def bitsandbytes8(weight):
    largest = weight.abs().amax(1)
    codes = (weight * (127 / largest).unsqueeze(1)).round().to(torch.int8)
    return {".weight": codes, ".SCB": largest, ".weight_format": torch.tensor(0, dtype=torch.uint8)}, (
        codes * (largest / 127).unsqueeze(1))
