// Attention of a step's packed tokens over the paged cache.
//
// Work is cut into items: some rows (a row is one query of one head; those of a KV head's group lie together) times one
// KV head times a range of segments. Long prompts' chunks are tiles of rows that go through all their keys. Rows of
// sequences with few queries are split by segments, so that one long sequence keeps all threads busy; their states lie in
// a buffer and are merged afterwards. Sequences that begin with the same blocks are one item as far as these reach, so
// that the blocks are read once; the sequences' own items go on from the states that are left there.
#pragma once

#include <stdlib.h>

#include "attention_rows.h"

namespace WEFT_NS {
namespace paged {

constexpr int ITEM_ROWS = 96;             // rows that read a span together
constexpr int SPLIT_QUERIES = 16;         // so many queries of a sequence, or fewer, are split by segments

// ---- memory ---------------------------------------------------------------------------------------------------------

// A buffer of a thread that grows and stays.
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
static thread_local Buffer step_buffer = {nullptr, 0}, item_buffer = {nullptr, 0};

// ---- rows of an item ------------------------------------------------------------------------------------------------

template <class T> struct Rows {
    int count;
    const T* q[ITEM_ROWS];                // [head_dim]
    int32_t begin[ITEM_ROWS], end[ITEM_ROWS];     // keys that the row sees
    int32_t rule[ITEM_ROWS];              // query head within the KV head's group
    float* state[ITEM_ROWS];              // of the segment at hand
};

// What all items of a call know.
template <class T> struct Call {
    const AttentionArgs& a;
    int64_t d, width, group;
    bool scaled, plain;
    int dtype_bytes;
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
    return r;
}

// The scratch of an item: converted spans, widened queries, states.
template <class T> struct Scratch {
    T* spans;
    float *wide, *segment, *total;
};
template <class T> static Scratch<T> scratch(int64_t width) {
    size_t spans = sizeof(T) * 2 * SPAN * width, wide = sizeof(float) * ITEM_ROWS * width;
    size_t states = sizeof(float) * ITEM_ROWS * state_size(width);
    char* p = reserve(item_buffer, spans + wide + 2 * states);
    return {(T*)p, (float*)(p + spans), (float*)(p + spans + wide), (float*)(p + spans + wide + states)};
}

// Puts row `query * group + g` of a sequence, whose queries begin at `token`, into an item.
template <class T>
static void add_row(const Call<T>& c, Rows<T>& rows, int64_t seq, int64_t token, int64_t row, int64_t kv_head, float* wide) {
    const AttentionStep& s = *c.a.step;
    int64_t query = row / c.group, g = row % c.group;
    int64_t at = (token + query) * c.a.q_stride + (kv_head * c.group + g) * c.d;
    int i = rows.count++;
    rows.end[i] = (int32_t)(s.seq_lens[seq] - s.query_lens[seq] + query + 1);
    rows.begin[i] = s.window && rows.end[i] > s.window ? (int32_t)(rows.end[i] - s.window) : 0;
    rows.rule[i] = (int32_t)g;
    const char* q = (const char*)c.a.q + at * c.dtype_bytes;
    rows.q[i] = (const T*)q;
    if constexpr (sizeof(T) == 4) {
        if (c.a.dtype == F32) return;
        float* out = wide + i * c.width;
        if (c.a.dtype == BF16)
            for (int64_t k = 0; k < c.d; k++) out[k] = bf16_to_float(((const uint16_t*)q)[k]);
        else
            for (int64_t k = 0; k < c.d; k++) out[k] = f16_to_float(((const uint16_t*)q)[k]);
        rows.q[i] = out;
    }
}

// ---- spans ----------------------------------------------------------------------------------------------------------

// The spans [first, last) of one segment into the rows' states. table: blocks of the sequence (or sequences).
template <class T>
static void attend(const Call<T>& c, const Rows<T>& rows, int64_t kv_head, const int32_t* table, int64_t first, int64_t last,
                   const ScoreRule* rules, T* spans) {
    int32_t begin = rows.begin[0], end = rows.end[0];
    for (int i = 1; i < rows.count; i++) {
        if (rows.begin[i] < begin) begin = rows.begin[i];
        if (rows.end[i] > end) end = rows.end[i];
    }
    Span<T> here, next;
    bool direct = lies_right<T>(c.a.cache);
    if (first < last) open_span(c.a.cache, kv_head, table, first, begin, end, spans, here);
    alignas(64) float sums[UNIT * SPAN];
    alignas(64) T p[UNIT * SPAN];
    for (int64_t s = first; s < last; s++) {
        bool ahead = direct && s + 1 < last;
        if (ahead) open_span(c.a.cache, kv_head, table, s + 1, begin, end, spans, next);
        else if (direct) next = here;
        int64_t start = s * SPAN;
        for (int u = 0; u < rows.count; u += UNIT) {
            int n = rows.count - u < UNIT ? rows.count - u : UNIT;
            bool any = false, sees[UNIT];
            float* out[UNIT];
            for (int r = 0; r < n; r++) {
                sees[r] = rows.begin[u + r] < start + SPAN && rows.end[u + r] > start;
                any = any || sees[r];
                out[r] = rows.state[u + r] + STATE_VALUES;
            }
            if (!any) continue;
            bool fetch = direct && u == 0;
            scores<T>(n, rows.q + u, here, fetch ? here.values : nullptr, c.d, sums);
            for (int r = 0; r < n; r++) {
                if (sees[r])
                    soften<T>(rules[rows.rule[u + r]], here, c.scaled, c.plain, sums + r * SPAN, start, rows.begin[u + r],
                              rows.end[u + r], c.width, p + r * SPAN, rows.state[u + r]);
                else memset(p + r * SPAN, 0, sizeof(T) * SPAN);
            }
            weigh_values<T>(n, p, here, fetch ? next.keys : nullptr, c.width, out);
        }
        if (direct) here = next;
        else if (s + 1 < last) open_span(c.a.cache, kv_head, table, s + 1, begin, end, spans, here);
    }
}

// ---- items ----------------------------------------------------------------------------------------------------------

// Rows [row0, row1) of sequence `seq` (or members [row0, row1) of group `seq`), spans [span0, span1).
struct Item {
    int32_t seq, row0, row1, span0, span1;
    enum Kind : int32_t { WHOLE, SPLIT, GROUP_PART } kind;
    bool goes_on;                         // from states that a group's item left for its first span
};
// Where the states of a split sequence lie: those of a row for num segments from `first` on; rows are query * heads + head.
struct States {
    float* data;
    int32_t first, num;
};

WEFT_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T> static void finish(const Call<T>& c, const float* state, int64_t token, int64_t head) {
    const float* sink = c.a.sinks ? c.a.sinks + head : nullptr;
    int64_t at = (token * c.a.heads + head) * c.d;
    WEFT_BY_DTYPE(c.a.dtype, finish_attention<D>(state, sink, c.d, (typename Float<D>::T*)c.a.out + at))
}

// All keys of the item's rows, to their results.
template <class T>
static void whole_item(const Call<T>& c, const Item& item, int64_t token, int64_t kv_head, const ScoreRule* rules) {
    const AttentionStep& s = *c.a.step;
    Scratch<T> w = scratch<T>(c.width);
    Rows<T> rows;
    rows.count = 0;
    for (int64_t r = item.row0; r < item.row1; r++) add_row(c, rows, item.seq, token, r, kv_head, w.wide);
    int64_t size = state_size(c.width), first = item.span0 / SEGMENT_SPANS, last = ceil_div(item.span1, SEGMENT_SPANS);
    const int32_t* table = s.block_table + item.seq * s.table_width;
    for (int64_t segment = first; segment < last; segment++) {
        for (int i = 0; i < rows.count; i++) {
            // A row's first segment becomes its total as it is.
            bool is_first = rows.begin[i] / SEGMENT == segment;
            rows.state[i] = (is_first ? w.total : w.segment) + i * size;
            clear_state(rows.state[i], c.width);
        }
        int64_t from = segment * SEGMENT_SPANS, to = from + SEGMENT_SPANS;
        attend(c, rows, kv_head, table, from > item.span0 ? from : item.span0, to < item.span1 ? to : item.span1, rules,
               w.spans);
        for (int i = 0; i < rows.count; i++)
            if (segment > rows.begin[i] / SEGMENT && segment * SEGMENT < rows.end[i])
                merge_state(w.total + i * size, rows.state[i], c.width);
    }
    for (int i = 0; i < rows.count; i++) {
        int64_t row = item.row0 + i;
        finish(c, w.total + i * size, token + row / c.group, kv_head * c.group + row % c.group);
    }
}

// The item's segments, into states.
template <class T>
static void split_item(const Call<T>& c, const Item& item, const int32_t* tokens, const States* states, int64_t kv_head,
                       const ScoreRule* rules) {
    bool is_group = item.kind == Item::GROUP_PART;
    const AttentionStep& s = *c.a.step;
    Scratch<T> w = scratch<T>(c.width);
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
        attend(c, rows, kv_head, s.block_table + any * s.table_width, span, to < item.span1 ? to : item.span1, rules, w.spans);
        span = to;
    }
}

// ---- the step -------------------------------------------------------------------------------------------------------

// Lists the items that cover rows [0, rows) and spans [first, last), `run` segments each; returns their number.
static int64_t list_items(Item* out, int32_t seq, int64_t rows, int64_t first, int64_t last, int64_t run, Item::Kind kind,
                          bool goes_on) {
    int64_t count = 0;
    for (int64_t r = 0; r < rows; r += ITEM_ROWS)
        for (int64_t from = first, to; from < last; from = to) {
            to = (from / SEGMENT_SPANS + run) * SEGMENT_SPANS;
            if (to > last) to = last;
            if (out)
                out[count] = {seq, (int32_t)r, (int32_t)(r + ITEM_ROWS < rows ? r + ITEM_ROWS : rows), (int32_t)from,
                              (int32_t)to, kind, goes_on && from == first};
            count++;
        }
    return count;
}

// What a sequence's rows read: spans [first, last) in `segments` segments, `shared` of the first by its group.
struct Reach {
    int64_t first, last, segments, shared;
    bool is_split;
};
static Reach reach(const AttentionStep& s, int64_t seq) {
    int64_t end = s.seq_lens[seq], queries = s.query_lens[seq], seen = end - queries + 1;
    Reach r = {};
    r.first = s.window && seen > s.window ? (seen - s.window) / SPAN : 0;
    r.last = ceil_div(end, SPAN);
    r.segments = ceil_div(r.last, SEGMENT_SPANS) - r.first / SEGMENT_SPANS;
    r.shared = s.num_groups ? s.shared_spans[seq] : 0;
    r.is_split = queries <= SPLIT_QUERIES && (r.segments > 1 || r.shared > 0);
    return r;
}

// Items of groups, then of sequences. out null: counts only.
static int64_t list_groups(const AttentionStep& s, int64_t group, int64_t run, Item* out) {
    int64_t count = 0;
    for (int64_t g = 0; g < s.num_groups; g++)
        count += list_items(out ? out + count : nullptr, (int32_t)g, (s.group_starts[g + 1] - s.group_starts[g]) * group, 0,
                            s.group_spans[g], run, Item::GROUP_PART, false);
    return count;
}
static int64_t list_sequences(const AttentionStep& s, int64_t group, int64_t run, Item* out) {
    int64_t count = 0;
    for (int64_t seq = 0; seq < s.num_seqs; seq++) {
        Reach r = reach(s, seq);
        int64_t rows = s.query_lens[seq] * group;
        Item* to = out ? out + count : nullptr;
        if (r.is_split) count += list_items(to, (int32_t)seq, rows, r.first > r.shared ? r.first : r.shared, r.last, run,
                                            Item::SPLIT, r.shared % SEGMENT_SPANS != 0);
        else {
            // Each tile of rows has keys of its own end.
            for (int64_t row = 0; row < rows; row += ITEM_ROWS) {
                int64_t stop = row + ITEM_ROWS < rows ? row + ITEM_ROWS : rows, before = s.seq_lens[seq] - s.query_lens[seq];
                int64_t begin = before + row / group + 1, end = before + (stop - 1) / group + 1;
                int64_t first = s.window && begin > s.window ? (begin - s.window) / SPAN : 0;
                if (out) out[count] = {(int32_t)seq, (int32_t)row, (int32_t)stop, (int32_t)first,
                                       (int32_t)ceil_div(end, SPAN), Item::WHOLE, false};
                count++;
            }
        }
    }
    return count;
}

// The results of a split sequence's row: its segments' states merged in order.
template <class T>
static void merge_row(const Call<T>& c, int64_t seq, int64_t token, const States& states, int64_t query, int64_t head) {
    const AttentionStep& s = *c.a.step;
    int64_t end = s.seq_lens[seq] - s.query_lens[seq] + query + 1, begin = s.window && end > s.window ? end - s.window : 0;
    int64_t size = state_size(c.width), first = begin / SEGMENT - states.first;
    int64_t last = ceil_div(end, SEGMENT) - states.first;
    float* total = states.data + (query * c.a.heads + head) * states.num * size;
    float* state = total + first * size;
    for (int64_t i = first + 1; i < last; i++) merge_state(state, total + i * size, c.width);
    finish(c, state, token + query, head);
}

template <class T> static void run_attention(const AttentionArgs& a) {
    const AttentionStep& s = *a.step;
    int64_t heads = a.cache.kv_heads, d = a.cache.head_dim;
    Call<T> c = {a, d, (d + 15) / 16 * 16, a.heads / heads, a.cache.kind == KV_INT8, false, a.dtype == F32 ? 4 : 2};
    c.plain = !c.scaled && a.softcap == 0 && !a.slopes;
    // How many segments an item has: few enough for all threads to have work.
    int64_t segments = 0, floats = 0;
    for (int64_t i = 0; i < s.num_seqs; i++) {
        Reach r = reach(s, i);
        if (!r.is_split) continue;
        segments += r.segments;
        floats += s.query_lens[i] * a.heads * r.segments * state_size(c.width);
    }
    int64_t run = segments * heads / (8 * num_threads());
    run = run < 1 ? 1 : run > 8 ? 8 : run;
    int64_t groups = list_groups(s, c.group, run, nullptr), count = list_sequences(s, c.group, run, nullptr);
    // One buffer: states, rules, items, where sequences' states and tokens are.
    size_t bytes = sizeof(float) * floats + sizeof(ScoreRule) * a.heads + sizeof(Item) * (groups + count) +
                   (sizeof(States) + sizeof(int32_t)) * s.num_seqs + 64;
    float* data = (float*)reserve(step_buffer, bytes);
    States* states = (States*)(data + floats);
    Item* items = (Item*)(states + s.num_seqs);
    ScoreRule* rules = (ScoreRule*)(items + groups + count);
    int32_t* tokens = (int32_t*)(rules + a.heads);
    for (int64_t i = 0, token = 0; i < s.num_seqs; token += s.query_lens[i], i++) {
        Reach r = reach(s, i);
        tokens[i] = (int32_t)token;
        states[i] = {data, (int32_t)(r.first / SEGMENT_SPANS), (int32_t)r.segments};
        if (r.is_split) data += s.query_lens[i] * a.heads * r.segments * state_size(c.width);
    }
    for (int64_t h = 0; h < a.heads; h++) rules[h] = score_rule(a, h);
    list_groups(s, c.group, run, items);
    list_sequences(s, c.group, run, items + groups);

    parallel_for(groups * heads, 1, [&](int64_t i) {
        int64_t head = i % heads;
        split_item(c, items[i / heads], tokens, states, head, rules + head * c.group);
    });
    // The last sequences first: long prompts stand behind decodes, and their last tiles are the longest.
    parallel_for(count * heads, 1, [&](int64_t i) {
        const Item& item = items[groups + count - 1 - i / heads];
        int64_t head = i % heads;
        if (item.kind == Item::WHOLE) whole_item(c, item, tokens[item.seq], head, rules + head * c.group);
        else split_item(c, item, tokens, states, head, rules + head * c.group);
    });
    if (segments)
        parallel_for(s.num_seqs * a.heads, 32, [&](int64_t i) {
            int64_t seq = i / a.heads;
            if (!reach(s, seq).is_split) return;
            for (int64_t q = 0; q < s.query_lens[seq]; q++) merge_row(c, seq, tokens[seq], states[seq], q, i % a.heads);
        });
}

}  // namespace paged

static void attention(const AttentionArgs& a) {
#if defined(__AVX512BF16__)
    if (a.dtype == BF16 && a.cache.kind != KV_F32 && a.cache.kind != KV_F16) return paged::run_attention<uint16_t>(a);
#endif
    paged::run_attention<float>(a);
}

}  // namespace WEFT_NS
