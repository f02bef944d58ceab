// Items of attention: an item is the work that a thread takes at once.
//
// An item covers some rows, one KV head and a range of spans that all its rows read together. A row is one query of one
// query head; the rows of the query heads that share a KV head are adjacent.
#pragma once

#include <stdlib.h>

#include "attention_amx.h"
#include "attention_bytes.h"
#include "attention_pairs.h"
#include "attention_rows.h"

namespace WEFT_NS {
namespace paged {

constexpr int ITEM_ROWS = 96;  // most rows of an item

// ---- memory ---------------------------------------------------------------------------------------------------------

// A buffer that grows on demand and is kept for later calls of its thread.
struct Buffer {
    char* data;
    size_t size;
};
WEFT_INLINE char* reserve(Buffer& b, size_t size) {
    if (b.size < size) {
        free(b.data);
        b.size = (size + 4095) / 4096 * 4096;
        b.data = (char*)aligned_alloc(64, b.size);
    }
    return b.data;
}
static thread_local Buffer item_buffer = {nullptr, 0};

// ---- rows of an item ------------------------------------------------------------------------------------------------

// The rows of an item.
template <class T> struct Rows {
    int count;
    const T* q[ITEM_ROWS];  // [head_dim]
    SeenKeys keys[ITEM_ROWS];
    int32_t rule[ITEM_ROWS];  // query head within the KV head's group
    float* state[ITEM_ROWS];  // softmax state of the current segment
};

// What all items of a call share.
template <class T> struct Call {
    const AttentionArgs& a;
    int64_t d, key_width, width, group;  // head_dim; head_dim and value_dim rounded up to 16; query heads of a KV head
    bool scaled, plain;                  // the cache has scales (int8); scores are multiplied by a factor only
    int dtype_bytes;
    // AMX tiles; blocks are read where they lie; converted ones too, for few rows
    bool tiles, direct, in_registers;
};

static ScoreRule score_rule(const AttentionArgs& a, int64_t head) {
    ScoreRule r = {};
    r.factor = a.scale * LOG2E;
    r.softcap = a.softcap * LOG2E;
    r.inner = a.softcap != 0 ? a.scale / a.softcap : 0;
    r.has_alibi = a.slopes != nullptr;
    r.is_bf16 = a.alibi_bf16;
    if (a.slopes) r.slope = a.alibi_bf16 ? bf16_to_float(float_to_bf16(a.slopes[head])) : a.slopes[head];
    r.bias_factor = a.alibi_scale * LOG2E;
    r.farthest = (int32_t)a.farthest;
    if (a.bias_by_distance) r.by_distance = a.bias_by_distance + head * (2 * a.farthest + 1) + a.farthest;
    return r;
}

// Scratch memory of an item: a converted span, queries as float32, the rows' states of a segment and in total.
template <class T> struct Scratch {
    T* spans;
    float *wide, *segment, *total;
};
template <class T> static Scratch<T> scratch(const Call<T>& c) {
    size_t spans = sizeof(T) * SPAN * (c.key_width + c.width), wide = sizeof(float) * ITEM_ROWS * c.key_width;
    size_t states = sizeof(float) * ITEM_ROWS * state_size(c.width);
    char* p = reserve(item_buffer, spans + wide + 2 * states);
    return {(T*)p, (float*)(p + spans), (float*)(p + spans + wide), (float*)(p + spans + wide + states)};
}

// Adds row `row` = query * group + g of a sequence to an item. token: the sequence's first row in the step. wide:
// memory for queries that are copied.
template <class T>
static void add_row(const Call<T>& c, Rows<T>& rows, int64_t seq, int64_t token, int64_t row, int64_t kv_head,
                    float* wide) {
    const AttentionStep& s = *c.a.step;
    int64_t query = row / c.group, g = row % c.group;
    int64_t at = (token + query) * c.a.q_stride + (kv_head * c.group + g) * c.d;
    int i = rows.count++;
    rows.keys[i] = seen_keys(s, seq, token, query);
    rows.rule[i] = (int32_t)g;
    const char* q = (const char*)c.a.q + at * c.dtype_bytes;
    rows.q[i] = (const T*)q;
    if (c.tiles) {
        rows.q[i] = (T*)wide + i * c.d;
        memcpy((T*)wide + i * c.d, q, sizeof(T) * c.d);
    }
    if constexpr (sizeof(T) == 4) {
        if (c.a.dtype == F32) return;
        float* out = wide + i * c.key_width;
        if (c.a.dtype == BF16)
            for (int64_t k = 0; k < c.d; k++) out[k] = bf16_to_float(((const uint16_t*)q)[k]);
        else
            for (int64_t k = 0; k < c.d; k++) out[k] = f16_to_float(((const uint16_t*)q)[k]);
        rows.q[i] = out;
    }
}

// Smallest range [begin, end) that covers the keys of all rows added; a row that sees no key is ignored.
struct Extent {
    int64_t begin, end;

    void add(const SeenKeys& keys) {
        if (keys.begin >= keys.end) return;
        begin = begin < end && begin < keys.begin ? begin : keys.begin;
        end = end > keys.end ? end : keys.end;
    }
};
template <class T> static Extent extent(const Rows<T>& rows) {
    Extent seen = {0, 0};
    for (int i = 0; i < rows.count; i++) seen.add(rows.keys[i]);
    return seen;
}

// ---- spans ----------------------------------------------------------------------------------------------------------

#if defined(WEFT_AMX)
constexpr int LARGEST_UNIT = AMX_UNIT;
#else
constexpr int LARGEST_UNIT = UNIT;
#endif

// The two products of n rows with a span, by the instructions that the call uses. ahead: the span to prefetch
// meanwhile, or null. in_registers: the span's pointers lead to cached numbers that are converted in registers.
template <class T>
WEFT_INLINE void multiply_keys(const Call<T>& c, bool in_registers, int n, const T* const* q, const Span<T>& span,
                               const Span<T>* ahead, float* sums) {
    if constexpr (sizeof(T) == 4)
        if (in_registers) return scores_of_pairs(c.a.cache, n, q, span, ahead ? *ahead : span, sums);
#if defined(__AVX512BF16__)
    if constexpr (sizeof(T) == 2)
        if (in_registers) return scores_of_bytes(c.a.cache, n, q, span, ahead ? *ahead : span, sums);
#endif
#if defined(WEFT_AMX)
    if constexpr (sizeof(T) == 2)
        if (c.tiles) return amx_scores(n, q[0], span, c.d, sums);
#endif
    scores<T>(n, q, span, ahead ? ahead->keys : nullptr, c.d, sums);
}
template <class T>
WEFT_INLINE void multiply_values(const Call<T>& c, bool in_registers, int n, const T* p, const Span<T>& span,
                                 const Span<T>* ahead, float* const* out) {
    if constexpr (sizeof(T) == 4)
        if (in_registers) return weigh_values_of_pairs(c.a.cache, n, p, span, ahead ? *ahead : span, out);
#if defined(__AVX512BF16__)
    if constexpr (sizeof(T) == 2)
        if (in_registers) return weigh_values_of_bytes(c.a.cache, n, p, span, ahead ? *ahead : span, out);
#endif
#if defined(WEFT_AMX)
    if constexpr (sizeof(T) == 2)
        if (c.tiles) return amx_values(n, p, span, c.width, out);
#endif
    weigh_values<T>(n, p, span, ahead ? ahead->values : nullptr, c.width, out);
}

// The span that a thread reads next, to be prefetched: its table of blocks, KV head, number, and the keys [begin, end)
// that are seen. table null: there is none.
struct Following {
    const int32_t* table;
    int64_t kv_head, span, begin, end;
};

// Adds spans [first, last) of one segment to the rows' states. table: blocks of the sequence, or of any member of a
// prefix group. rules: of the KV head's query heads.
template <class T>
static void attend(const Call<T>& c, const Rows<T>& rows, int64_t kv_head, const int32_t* table, int64_t first,
                   int64_t last, const ScoreRule* rules, T* spans, const Following& following) {
    const Extent seen = extent(rows);
    Span<T> here, next;
    const KvCache& cache = c.a.cache;
    alignas(64) float sums[LARGEST_UNIT * SPAN];
    alignas(64) T p[LARGEST_UNIT * SPAN];
    const int unit = c.tiles ? LARGEST_UNIT : UNIT;
    const bool in_registers = c.in_registers && rows.count <= UNIT, lies = c.direct || in_registers;
    for (int64_t s = first; s < last; s++) {
        if (s == first || !lies) open_span(cache, lies, kv_head, table, s, seen.begin, seen.end, spans, here);
        if (lies && s + 1 < last) open_span(cache, true, kv_head, table, s + 1, seen.begin, seen.end, spans, next);
        else if (lies && following.table)
            open_span(cache, true, following.kv_head, following.table, following.span, following.begin, following.end,
                      spans, next);
        else next = here;
        int64_t start = s * SPAN;
        for (int u = 0; u < rows.count; u += unit) {
            int n = rows.count - u < unit ? rows.count - u : unit;
            bool any = false, sees[LARGEST_UNIT];
            const Span<T>* ahead = lies && u == 0 ? &next : nullptr;
            float* out[LARGEST_UNIT];
            for (int r = 0; r < n; r++) {
                const SeenKeys& keys = rows.keys[u + r];
                sees[r] = keys.begin < keys.end && keys.begin < start + SPAN && keys.end > start;
                any = any || sees[r];
                out[r] = rows.state[u + r] + STATE_VALUES;
            }
            if (!any) continue;
            multiply_keys(c, in_registers, n, rows.q + u, here, ahead, sums);
            for (int r = 0; r < n; r++) {
                if (sees[r])
                    soften<T>(rules[rows.rule[u + r]], here, c.scaled, c.plain, unit_of<T>(cache.kind), sums + r * SPAN,
                              start, rows.keys[u + r], c.width, p + r * SPAN, rows.state[u + r]);
                else memset(p + r * SPAN, 0, sizeof(T) * SPAN);
            }
            multiply_values(c, in_registers, n, p, here, ahead, out);
        }
        here = next;
    }
}

// ---- items ----------------------------------------------------------------------------------------------------------

// Rows [row0, row1) of sequence `seq`, spans [span0, span1). A GROUP_PART is about prefix group `seq`, whose rows are
// member * group + g.
struct Item {
    int32_t seq, row0, row1, span0, span1;
    enum Kind : int32_t { WHOLE, SPLIT, GROUP_PART } kind;
    bool goes_on;  // the first segment continues from states that a GROUP_PART left
};
// The segment states (split-KV partials) of a split sequence, [query * heads + head][num], for the `num` segments from
// segment `first` on.
struct States {
    float* data;
    int32_t first, num;
};

WEFT_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T> static void finish(const Call<T>& c, const float* state, int64_t token, int64_t head) {
    const float* sink = c.a.sinks ? c.a.sinks + head : nullptr;
    const int64_t size = c.a.cache.value_dim, at = (token * c.a.heads + head) * size;
    WEFT_BY_DTYPE(c.a.dtype, finish_attention<D>(state, sink, size, (typename Float<D>::T*)c.a.out + at))
}

// What to prefetch behind an item's segment that ends before span `to`: the item's next segment, or `following` behind
// its last one.
template <class T>
static Following then(const Rows<T>& rows, int64_t kv_head, const int32_t* table, int64_t to, const Item& item,
                      const Following& following) {
    if (to >= item.span1) return following;
    const Extent seen = extent(rows);
    return {table, kv_head, to, seen.begin, seen.end};
}

// Runs a WHOLE item: attends over all keys of its rows and writes their results. token: the sequence's first row in the
// step.
template <class T>
static void whole_item(const Call<T>& c, const Item& item, int64_t token, int64_t kv_head, const ScoreRule* rules,
                       const Following& following) {
    const AttentionStep& s = *c.a.step;
    Scratch<T> w = scratch<T>(c);
    Rows<T> rows;
    rows.count = 0;
    for (int64_t r = item.row0; r < item.row1; r++) add_row(c, rows, item.seq, token, r, kv_head, w.wide);
    int64_t size = state_size(c.width), first = item.span0 / SEGMENT_SPANS, last = ceil_div(item.span1, SEGMENT_SPANS);
    const int32_t* table = s.block_table + item.seq * s.table_width;
    for (int i = 0; i < rows.count; i++)
        if (rows.keys[i].begin >= rows.keys[i].end) clear_state(w.total + i * size, c.width);
    for (int64_t segment = first; segment < last; segment++) {
        for (int i = 0; i < rows.count; i++) {
            // A row's first segment goes straight into its total, where nothing has to be merged yet.
            bool is_first = rows.keys[i].begin / SEGMENT == segment && rows.keys[i].begin < rows.keys[i].end;
            rows.state[i] = (is_first ? w.total : w.segment) + i * size;
            clear_state(rows.state[i], c.width);
        }
        int64_t from = segment * SEGMENT_SPANS, to = from + SEGMENT_SPANS;
        from = from > item.span0 ? from : item.span0, to = to < item.span1 ? to : item.span1;
        attend(c, rows, kv_head, table, from, to, rules, w.spans, then(rows, kv_head, table, to, item, following));
        for (int i = 0; i < rows.count; i++)
            if (segment > rows.keys[i].begin / SEGMENT && segment * SEGMENT < rows.keys[i].end)
                merge_state(w.total + i * size, rows.state[i], c.width);
    }
    for (int i = 0; i < rows.count; i++) {
        int64_t row = item.row0 + i;
        finish(c, w.total + i * size, token + row / c.group, kv_head * c.group + row % c.group);
    }
}

// Runs a SPLIT or GROUP_PART item: leaves a state for each of its rows and segments, which merge_row merges later.
// tokens: [num_seqs], each sequence's first row in the step.
template <class T>
static void split_item(const Call<T>& c, const Item& item, const int32_t* tokens, const States* states, int64_t kv_head,
                       const ScoreRule* rules, const Following& following) {
    bool is_group = item.kind == Item::GROUP_PART;
    const AttentionStep& s = *c.a.step;
    Scratch<T> w = scratch<T>(c);
    Rows<T> rows;
    const States* of[ITEM_ROWS];
    int64_t state_row[ITEM_ROWS], size = state_size(c.width);
    rows.count = 0;
    for (int64_t r = item.row0; r < item.row1; r++) {
        int64_t seq = is_group ? s.group_members[s.group_starts[item.seq] + r / c.group] : item.seq;
        int64_t row = is_group ? r % c.group : r;
        of[rows.count] = states + seq;
        state_row[rows.count] = row / c.group * c.a.heads + kv_head * c.group + row % c.group;
        add_row(c, rows, seq, tokens[seq], row, kv_head, w.wide);
    }
    int64_t any = is_group ? s.group_members[s.group_starts[item.seq]] : item.seq;
    for (int64_t span = item.span0; span < item.span1;) {
        int64_t segment = span / SEGMENT_SPANS, to = (segment + 1) * SEGMENT_SPANS;
        for (int i = 0; i < rows.count; i++) {
            rows.state[i] = of[i]->data + (state_row[i] * of[i]->num + segment - of[i]->first) * size;
            if (!item.goes_on || span > item.span0) clear_state(rows.state[i], c.width);
        }
        to = to < item.span1 ? to : item.span1;
        const int32_t* table = s.block_table + any * s.table_width;
        attend(c, rows, kv_head, table, span, to, rules, w.spans, then(rows, kv_head, table, to, item, following));
        span = to;
    }
}

}  // namespace paged
}  // namespace WEFT_NS
