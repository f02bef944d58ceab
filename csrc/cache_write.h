// Writes keys and values into the paged KV cache, one head of one token at a time.
//
// Tokens and heads may be written in any order, so threads share them. The last token that a step writes into a block
// which the step has started also zeroes the block's remaining slots: an earlier owner may have left NaN there, and a
// weight of 0 times NaN is NaN.
#pragma once

#include "attention_args.h"
#include "parallel.h"
#include "simd.h"

namespace WEFT_NS {

constexpr int64_t kv_bytes(int kind) { return kind == KV_F32 ? 4 : kind == KV_BF16 || kind == KV_F16 ? 2 : 1; }
// Bytes of one head's block of keys, or of values.
WEFT_INLINE int64_t block_bytes(const KvCache& c) {
    return KV_BLOCK * (c.head_dim * kv_bytes(c.kind) + (c.kind == KV_INT8 ? 4 : 0));
}
WEFT_INLINE float* block_scales(const KvCache& c, uint8_t* block) { return (float*)(block + KV_BLOCK * c.head_dim); }

// ---- 8-bit codes ----------------------------------------------------------------------------------------------------

// The 8-bit floats with M bits of mantissa nearest to x, ties to even. NaN becomes 0x7f. Numbers beyond `largest`
// become it, never NaN or infinity.
template <int M, int BIAS> WEFT_INLINE VI to_fp8(VF x, float largest) {
    constexpr int SHIFT = 23 - M;
    VU u = (VU)x, sign = (u >> 24) & 0x80u;
    VF a = (VF)(u & 0x7fffffffu);
    VI nan = a != a;
    a = vmin(a, splat(largest));
    u = (VU)a;
    VU normal = ((u + ((1u << (SHIFT - 1)) - 1) + ((u >> SHIFT) & 1)) >> SHIFT) - (uint32_t)((127 - BIAS) << M);
    constexpr uint32_t MAGIC = (uint32_t)(127 + 1 - BIAS - M + 23) << 23;  // its last bit: the smallest code
    VF magic = (VF)(VU{} + MAGIC);
    VU small = (VU)(a + magic) - MAGIC;
    VI is_small = a < (VF)(VU{} + ((uint32_t)(128 - BIAS) << 23));
    VU code = is_small ? small : normal;
    code = nan ? VU{} + 0x7fu : code;
    return (VI)(code | sign);
}

// Writes the 8-bit codes (quantized values) of x [n] to out. Returns the scale that multiplies them: 1 for float
// formats.
WEFT_INLINE float encode_row(int kind, const float* x, int64_t n, uint8_t* out) {
    float scale = 1.0f;
    if (kind == KV_INT8) {
        VF most = zero(), bad = zero();
        for (int64_t i = 0; i < n; i += W) {
            VF v = load(x + i);
            most = vmax(v < zero() ? -v : v, most);
            bad = bad + v * zero();  // NaN for NaN and infinities
        }
        scale = hmax(most);
        scale = (scale > 1e-30f ? scale : 1e-30f) / 127.0f + hsum(bad);
    }
    for (int64_t i = 0; i < n; i += W) {
        VF v = load(x + i);
        VI code;
        if (kind == KV_E4M3) code = to_fp8<3, 7>(v, 448.0f);
        else if (kind == KV_E5M2) code = to_fp8<2, 15>(v, 57344.0f);
        else {
            code = (VI)(v / splat(scale) + splat(12582912.0f)) - 0x4b400000;  // 0x4b400000: bits of 12582912.0f
            code = code < 0 ? (-code & 127) | 128 : code & 127;               // sign and magnitude
        }
        VB bytes = narrow_to_bytes((VU)code);
        memcpy(out + i, &bytes, sizeof bytes);
    }
    return scale;
}

// ---- a token --------------------------------------------------------------------------------------------------------

// Stores one token's k [d] and v [d] at `slot` of a block of keys and one of values, by pairs (16 and 8 bit) or as
// floats. zero_rest: zeroes the slots behind it. vb null: latents, without a block of values.
template <class U>
WEFT_INLINE void put_pairs(const U* k, const U* v, int64_t d, int slot, bool zero_rest, U* kb, U* vb) {
    for (int64_t i = 0; i < d; i += 2, kb += 2 * KV_BLOCK) {
        kb[2 * slot] = k[i];
        kb[2 * slot + 1] = k[i + 1];
        if (zero_rest)
            for (int s = 2 * slot + 2; s < 2 * KV_BLOCK; s++) kb[s] = 0;
    }
    if (!vb) return;
    U* row = vb + slot / 2 * 2 * d + slot % 2;
    for (int64_t i = 0; i < d; i++) row[2 * i] = v[i];
    if (!zero_rest) return;
    if (slot % 2 == 0)
        for (int64_t i = 0; i < d; i++) row[2 * i + 1] = 0;
    memset(vb + (slot / 2 + 1) * 2 * d, 0, sizeof(U) * 2 * d * (KV_BLOCK / 2 - 1 - slot / 2));
}
WEFT_INLINE void put_floats(const float* k, const float* v, int64_t d, int slot, bool zero_rest, float* kb, float* vb) {
    for (int64_t i = 0; i < d; i++) {
        kb[i * KV_BLOCK + slot] = k[i];
        if (zero_rest)
            for (int s = slot + 1; s < KV_BLOCK; s++) kb[i * KV_BLOCK + s] = 0;
    }
    if (!vb) return;
    memcpy(vb + slot * d, v, sizeof(float) * d);
    if (zero_rest) memset(vb + (slot + 1) * d, 0, sizeof(float) * d * (KV_BLOCK - 1 - slot));
}

// True if the step starts the block of token t, token t is the step's last one in it, and slots behind it stay free.
WEFT_INLINE bool leaves_rest(const int64_t* slots, int64_t num_tokens, int64_t t) {
    int64_t slot = slots[t], offset = slot % KV_BLOCK;
    if (offset == KV_BLOCK - 1 || (t + 1 < num_tokens && slots[t + 1] == slot + 1)) return false;
    return t >= offset && slots[t - offset] == slot - offset;
}

// Writes one head of token t. k, v: [head_dim] of type D, which is also the cache's unless that has 8 bits.
template <int D>
static void write_token(const KvCache& c, const int64_t* slots, int64_t num_tokens, int64_t t, int64_t head,
                        const typename Float<D>::T* k, const typename Float<D>::T* v) {
    int64_t block = slots[t] / KV_BLOCK, d = c.head_dim, at = (block * c.kv_heads + head) * block_bytes(c);
    int slot = (int)(slots[t] % KV_BLOCK);
    bool zero_rest = leaves_rest(slots, num_tokens, t);
    uint8_t *kb = (uint8_t*)c.k + at, *vb = c.v ? (uint8_t*)c.v + at : nullptr;
    if constexpr (D == F32) {
        if (c.kind == KV_F32) return put_floats(k, v, d, slot, zero_rest, (float*)kb, (float*)vb);
    } else {
        if (c.kind == KV_BF16 || c.kind == KV_F16)
            return put_pairs(k, v, d, slot, zero_rest, (uint16_t*)kb, (uint16_t*)vb);
    }
    float wide[LARGEST_LATENT + W] = {}, scales[2];
    uint8_t codes[2][LARGEST_LATENT + W];
    for (int part = 0; part < (vb ? 2 : 1); part++) {
        for (int64_t i = 0; i < d; i++) wide[i] = Float<D>::get((part ? v : k)[i]);
        scales[part] = encode_row(c.kind, wide, d, codes[part]);
    }
    put_pairs(codes[0], codes[1], d, slot, zero_rest, kb, vb);
    if (c.kind != KV_INT8) return;
    for (int s = slot; s < (zero_rest ? KV_BLOCK : slot + 1); s++) {
        block_scales(c, kb)[s] = s == slot ? scales[0] : 0;
        if (vb) block_scales(c, vb)[s] = s == slot ? scales[1] : 0;
    }
}

// ---- a step's tokens ------------------------------------------------------------------------------------------------

static void write_cache(const CacheWriteArgs& a) {
    int64_t heads = a.cache.kv_heads, d = a.cache.head_dim;
    parallel_for(a.num_tokens * heads, 64, [&](int64_t i) {
        int64_t t = i / heads, head = i % heads;
        WEFT_BY_DTYPE(a.dtype,
                      write_token<D>(a.cache, a.slots, a.num_tokens, t, head,
                                     (const typename Float<D>::T*)a.k + t * a.k_stride + head * d,
                                     a.v ? (const typename Float<D>::T*)a.v + t * a.v_stride + head * d : nullptr))
    });
}

}  // namespace WEFT_NS
