// Attention of a step's packed tokens over the paged KV cache: PagedAttention, with flash-decoding for few queries.
//
// Work is cut into items (attention_items.h). A long chunk of queries (prefill) is cut into tiles of rows, and each
// tile goes through all its keys. A sequence with at most SPLIT_QUERIES queries (decode) is split along its keys into
// segments, so that one long sequence keeps all threads busy. Each segment leaves a softmax state for each row (a
// split-KV partial) in a buffer, and merge_row merges the states. Sequences that begin with the same blocks form a
// prefix group: one item reads the shared blocks once for all members, and the members' own items continue from its
// states.
#pragma once

#include "attention_items.h"

namespace WEFT_NS {
namespace paged {

static thread_local Buffer step_buffer = {nullptr, 0};

// ---- the step -------------------------------------------------------------------------------------------------------

// Writes the items that cover rows [0, rows) and spans [first, last) to `out`, `run` segments for each item. Returns
// their number; out null: only counts.
static int64_t list_items(Item* out, int32_t seq, int64_t rows, int64_t first, int64_t last, int64_t run,
                          Item::Kind kind, bool goes_on) {
    int64_t count = 0;
    for (int64_t r = 0; r < rows; r += ITEM_ROWS)
        for (int64_t from = first, to; from < last; from = to) {
            to = (from / SEGMENT_SPANS + run) * SEGMENT_SPANS;
            if (to > last) to = last;
            if (out)
                out[count] = {seq,
                              (int32_t)r,
                              (int32_t)(r + ITEM_ROWS < rows ? r + ITEM_ROWS : rows),
                              (int32_t)from,
                              (int32_t)to,
                              kind,
                              goes_on && from == first};
            count++;
        }
    return count;
}

// Smallest range of keys that covers what queries [first, stop) of a sequence see. token: the sequence's first row in
// the step.
static Extent extent(const AttentionStep& s, int64_t seq, int64_t token, int64_t first, int64_t stop) {
    Extent seen = {0, 0};
    if (s.first_keys) {
        for (int64_t q = first; q < stop; q++) seen.add(seen_keys(s, seq, token, q));
        return seen;
    }
    return {seen_keys(s, seq, token, first).begin, seen_keys(s, seq, token, stop - 1).end};
}

// The spans [first, last) that a sequence with at most SPLIT_QUERIES queries reads, and the number of segments that
// they touch. Of these spans, the sequence's prefix group reads those before `shared`. All zero for a longer chunk of
// queries.
struct Reach {
    int64_t first, last, segments, shared;
    bool is_split;
};
static Reach reach(const AttentionStep& s, int64_t seq, int64_t token) {
    int64_t queries = s.query_lens[seq];
    Reach r = {};
    if (queries > SPLIT_QUERIES) return r;
    const Extent seen = extent(s, seq, token, 0, queries);
    r.first = seen.begin / SPAN;
    r.last = ceil_div(seen.end, SPAN);
    r.segments = ceil_div(r.last, SEGMENT_SPANS) - r.first / SEGMENT_SPANS;
    r.shared = s.num_groups ? s.shared_spans[seq] : 0;
    r.is_split = r.segments > 1 || r.shared > 0;
    return r;
}

// Items of the prefix groups (list_groups) and of the sequences (list_sequences), written to `out`; out null: only
// counted. group: query heads of a KV head.
static int64_t list_groups(const AttentionStep& s, int64_t group, int64_t run, Item* out) {
    int64_t count = 0;
    for (int64_t g = 0; g < s.num_groups; g++) {
        int64_t rows = (s.group_starts[g + 1] - s.group_starts[g]) * group;
        count += list_items(out ? out + count : nullptr, (int32_t)g, rows, 0, s.group_spans[g], run, Item::GROUP_PART,
                            false);
    }
    return count;
}
static int64_t list_sequences(const AttentionStep& s, int64_t group, int64_t run, Item* out) {
    int64_t count = 0;
    for (int64_t seq = 0, token = 0; seq < s.num_seqs; token += s.query_lens[seq], seq++) {
        Reach r = reach(s, seq, token);
        int64_t rows = s.query_lens[seq] * group;
        Item* to = out ? out + count : nullptr;
        if (r.is_split) {
            count += list_items(to, (int32_t)seq, rows, r.first > r.shared ? r.first : r.shared, r.last, run,
                                Item::SPLIT, r.shared % SEGMENT_SPANS != 0);
        } else {
            // Each tile of rows reads only the keys that its rows see.
            for (int64_t row = 0; row < rows; row += ITEM_ROWS) {
                int64_t stop = row + ITEM_ROWS < rows ? row + ITEM_ROWS : rows;
                if (out) {
                    Extent seen = extent(s, seq, token, row / group, (stop - 1) / group + 1);
                    out[count] = {(int32_t)seq,
                                  (int32_t)row,
                                  (int32_t)stop,
                                  (int32_t)(seen.begin / SPAN),
                                  (int32_t)ceil_div(seen.end, SPAN),
                                  Item::WHOLE,
                                  false};
                }
                count++;
            }
        }
    }
    return count;
}

// Writes the result of one row of a split sequence: the states of its segments, merged in order of position.
template <class T>
static void merge_row(const Call<T>& c, int64_t seq, int64_t token, const States& states, int64_t query, int64_t head) {
    const AttentionStep& s = *c.a.step;
    const SeenKeys keys = seen_keys(s, seq, token, query);
    int64_t size = state_size(c.width);
    float* total = states.data + (query * c.a.heads + head) * states.num * size;
    if (keys.begin >= keys.end) {
        clear_state(total, c.width);
        return finish(c, total, token + query, head);
    }
    int64_t first = keys.begin / SEGMENT - states.first, last = ceil_div(keys.end, SEGMENT) - states.first;
    float* state = total + first * size;
    for (int64_t i = first + 1; i < last; i++) merge_state(state, total + i * size, c.width);
    finish(c, state, token + query, head);
}

template <class T> static void run_attention(const AttentionArgs& a) {
    const AttentionStep& s = *a.step;
    int64_t heads = a.cache.kv_heads, d = a.cache.head_dim;
    Call<T> c = {a,
                 d,
                 round_up(d),
                 round_up(a.cache.value_dim),
                 a.heads / heads,
                 a.cache.kind == KV_INT8,
                 false,
                 a.dtype == F32 ? 4 : 2,
                 false,
                 is_own_type<T>(a.cache) && d % 16 == 0 && a.cache.v,
                 is_read_in_registers<T>(a.cache)};
#if defined(WEFT_AMX)
    c.tiles = sizeof(T) == 2 && d % 32 == 0 && a.cache.value_dim % 32 == 0;
    if (c.tiles) c.direct = c.in_registers = false;
#endif
    c.plain = !c.scaled && a.softcap == 0 && !a.slopes && !a.bias_by_distance;
    // run: segments of an item, 1 to 8, so that each thread gets about 8 items.
    int64_t segments = 0, floats = 0;
    for (int64_t i = 0, token = 0; i < s.num_seqs; token += s.query_lens[i], i++) {
        Reach r = reach(s, i, token);
        if (!r.is_split) continue;
        segments += r.segments;
        floats += s.query_lens[i] * a.heads * r.segments * state_size(c.width);
    }
    int64_t run = segments * heads / (8 * num_threads());
    run = run < 1 ? 1 : run > 8 ? 8 : run;
    int64_t groups = list_groups(s, c.group, run, nullptr), count = list_sequences(s, c.group, run, nullptr);
    // One buffer holds, in this order: the split rows' states, a States for each sequence, a ScoreRule for each query
    // head, the items, the first row of each sequence in the step. What holds pointers comes first: a state is an even
    // number of floats, an item an odd number of 32 bits.
    size_t bytes = sizeof(float) * floats + sizeof(ScoreRule) * a.heads + sizeof(Item) * (groups + count) +
                   (sizeof(States) + sizeof(int32_t)) * s.num_seqs + 64;
    float* data = (float*)reserve(step_buffer, bytes);
    States* states = (States*)(data + floats);
    ScoreRule* rules = (ScoreRule*)(states + s.num_seqs);
    Item* items = (Item*)(rules + a.heads);
    int32_t* tokens = (int32_t*)(items + groups + count);
    for (int64_t i = 0, token = 0; i < s.num_seqs; token += s.query_lens[i], i++) {
        Reach r = reach(s, i, token);
        tokens[i] = (int32_t)token;
        states[i] = {data, (int32_t)(r.first / SEGMENT_SPANS), (int32_t)r.segments};
        if (r.is_split) data += s.query_lens[i] * a.heads * r.segments * state_size(c.width);
    }
    for (int64_t h = 0; h < a.heads; h++) rules[h] = score_rule(a, h);
    list_groups(s, c.group, run, items);
    list_sequences(s, c.group, run, items + groups);

    parallel_for(groups * heads, 1, [&](int64_t i) {
        int64_t head = i % heads;
        split_item(c, items[i / heads], tokens, states, head, rules + head * c.group, {});
    });
    // Items run from the last sequence to the first: long prompts stand behind decodes, and their last tiles take
    // longest. Decodes take equally long: where a step has nothing else, a thread takes `grain` items at a time, and
    // prefetches the first span of the next item.
    int64_t each = count * heads / num_threads(), grain = each / 8 > 4 ? each / 8 : each < 4 ? each : 4;
    grain = s.num_tokens != s.num_seqs || grain < 1 ? 1 : grain > 16 ? 16 : grain;
    parallel_for(count * heads, grain, [&](int64_t i) {
        const Item& item = items[groups + count - 1 - i / heads];
        int64_t head = i % heads;
        Following after = {};
        if ((i + 1) % grain != 0 && i + 1 < count * heads) {
            const Item& next = items[groups + count - 1 - (i + 1) / heads];
            int64_t token = tokens[next.seq], first = next.row0 / c.group, stop = (next.row1 - 1) / c.group + 1;
            Extent seen = extent(s, next.seq, token, first, stop);
            after = {s.block_table + next.seq * s.table_width, (i + 1) % heads, next.span0, seen.begin, seen.end};
        }
        if (item.kind == Item::WHOLE) whole_item(c, item, tokens[item.seq], head, rules + head * c.group, after);
        else split_item(c, item, tokens, states, head, rules + head * c.group, after);
    });
    if (segments)
        parallel_for(s.num_seqs * a.heads, 32, [&](int64_t i) {
            int64_t seq = i / a.heads;
            if (!reach(s, seq, tokens[seq]).is_split) return;
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
