"""The benchmarks run: small, on a tiny checkpoint, for their tables and not for their numbers."""

import json

import pytest

from weft import LLM, SamplingParams

SMALL = ("--num-threads", 1, "--rounds", 1, "--buffer-bytes", 1 << 20)


def test_the_machine_benchmark_prints_and_writes_three_bounds(run, tmp_path):
    done = run("machine.py", *SMALL, "--output-json", tmp_path / "bounds.json")

    assert done.returncode == 0, done.stderr
    for line in ("streaming read", "bfloat16 product", "float32 product"):
        assert line in done.stdout
    bounds = json.loads((tmp_path / "bounds.json").read_text())
    assert min(bounds["read"], bounds["bfloat16"], bounds["float32"]) > 0


def test_the_engine_benchmark_prints_each_row_with_its_limit(run, checkpoint, tmp_path):
    done = run("engine.py", checkpoint, *SMALL, "--shrink", 64, "--kv-cache-memory-bytes", 1 << 24, "--output-json",
               tmp_path / "rows.json")

    assert done.returncode == 0, done.stderr
    for line in ("start to first token", "prefill, one prompt of 8 ", "prefill, one prompt of 128",
                 "decode, one sequence, context 8 ", "decode, one sequence, context 256", "32 requests, prompts 1-8",
                 "32 requests, shared prefix of 16, own 1", "peak memory / plan"):
        assert line in done.stdout
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["key"] for row in rows if row["limit"] is None} == {"start", "memory"}
    assert all(row["value"] > 0 for row in rows)


def test_the_products_benchmark_prints_each_kind_and_number_of_rows(run):
    done = run("products.py", "--n", 128, "--k", 256, "--rows", 1, 7, "--rounds", 1, "--num-threads", 1,
               "--buffer-bytes", 1 << 20)

    assert done.returncode == 0, done.stderr
    lines = [line.split()[:2] for line in done.stdout.splitlines()[2:]]
    kinds = ("bfloat16", "w8a8", "int8", "int4", "Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
    assert lines == [[kind, rows] for kind in kinds for rows in ("1", "7")]


def test_the_products_benchmark_multiplies_codes_by_8_bits_where_asked(run):
    done = run("products.py", "--n", 128, "--k", 256, "--rows", 5, "--rounds", 1, "--num-threads", 1, "--kinds", "Q4_K",
               "--buffer-bytes", 1 << 20, "--activation-dtype", "int8")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].split()[:2] == ["Q4_K", "5"]


def test_the_quality_benchmark_prints_each_way_with_its_loss(run):
    done = run("quality.py", "--documents", 6, "--sums", 3)

    assert done.returncode == 0, done.stderr
    rows = {row[0]: row[1:] for row in (line.split() for line in done.stdout.splitlines()[3:])}
    assert list(rows) == ["bfloat16", "int8", "w8a8", "int4", "w4a8"]
    assert rows["bfloat16"][1] == "+0.0000"
    assert all(0.1 < float(loss) < 1 for loss, *_ in rows.values())
    assert rows["int4"][0] != rows["w4a8"][0] != rows["int8"][0]


def test_the_speculation_benchmark_prints_each_text_with_its_ratio(run, checkpoint):
    done = run("speculation.py", checkpoint, "--contexts", 16, 64, "--output-len", 32, "--rounds", 1,
               "--num-threads", 1, "--lookup-max", 2)

    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:5]]
    assert [row[:3] for row in rows] == [["repeats", "itself", "48"], ["nothing", "repeats", "16"],
                                         ["nothing", "repeats", "64"]]
    assert all(float(ratio) > 0 for row in rows for ratio in row[3:])
    assert done.stdout.count("a lookup in ") == 2


def test_the_programmed_benchmark_prints_each_step_with_its_ratio(run, checkpoint):
    done = run("programmed.py", checkpoint, "--prompt-len", 16, "--context-len", 8, "--batch-sizes", 1, 3, "--rounds",
               2, "--num-threads", 1, "--clock", "cpu")

    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[3:]]
    assert [row[:2] for row in rows] == [["prefill", "16"], ["decode", "1"], ["decode", "3"]]
    assert all(float(number) > 0 for row in rows for number in row[2:])


def test_a_gguf_file_of_random_blocks_is_one_that_runs(run, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({
        "model_type": "qwen3", "max_position_embeddings": 512, "num_hidden_layers": 8, "hidden_size": 256,
        "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "rms_norm_eps": 1e-6, "vocab_size": 260}))
    (tmp_path / "tokenizer.json").write_text(json.dumps({
        "model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        "added_tokens": [{"id": 3, "content": "<end>"}]}))

    done = run("make_gguf.py", tmp_path, tmp_path / "model.gguf")

    assert done.returncode == 0, done.stderr
    params = SamplingParams(max_tokens=3, ignore_eos=True)
    with LLM(model=str(tmp_path / "model.gguf"), skip_tokenizer_init=True, num_threads=1,
             use_tqdm_on_load=False) as llm:
        output = llm.generate([{"prompt_token_ids": [1, 2]}], params, use_tqdm=False)
    assert len(output[0].outputs[0].token_ids) == 3


def test_the_engine_benchmark_runs_single_rows(run, checkpoint):
    done = run("engine.py", checkpoint, *SMALL, "--shrink", 64, "--rows", "decode-512",
               "--kv-cache-memory-bytes", 1 << 24)

    assert done.returncode == 0, done.stderr
    assert "decode, one sequence" in done.stdout and "prefill" not in done.stdout and "start" not in done.stdout


def test_goals_in_tokens_are_shown_for_their_shape_and_fractions_for_any(capsys):
    from engine import GOALS, Result, print_results

    rows = [Result(key="prefill-512", title="prefill, one prompt of 512", unit="tokens/s", values=[1500.0], limit=3000)]
    print_results(rows, GOALS["plain"], is_goal_shape=True, title="")
    goal_shape = capsys.readouterr().out.splitlines()[-1]
    print_results(rows, GOALS["plain"], is_goal_shape=False, title="")
    other_shape = capsys.readouterr().out.splitlines()[-1]

    assert goal_shape.split()[-6:] == ["at", "least", "2,000", "3,000.0", "0.50", "0.65"]
    assert other_shape.split()[-4:] == ["tokens/s", "3,000.0", "0.50", "0.65"]


@pytest.mark.parametrize("script", ["engine.py", "peers.py"])
def test_an_unknown_row_is_refused_with_those_there_are(run, checkpoint, script):
    done = run(script, checkpoint, "--rows", "prefill-513")

    assert done.returncode == 2
    assert "prefill-513" in done.stderr and "prefill-512" in done.stderr


def test_the_decode_profile_prints_the_share_outside_operators(run, checkpoint):
    done = run("decode_profile.py", checkpoint, "--batch-sizes", 1, 2, "--prompt-len", 8, "--steps", 2,
               "--num-threads", 1)

    assert done.returncode == 0, done.stderr
    assert "share" in done.stdout and "schedule" in done.stdout


def test_the_scheduler_benchmark_prints_its_loads(run):
    done = run("scheduler.py", "--running", 4, "--waiting", 10, "--steps", 5)

    assert done.returncode == 0, done.stderr
    assert "decode" in done.stdout and "preempt" in done.stdout


def test_the_structured_benchmark_prints_each_form_for_each_number_of_sequences(run, checkpoint):
    done = run("structured.py", checkpoint, "--batches", 1, 2, "--output-len", 8, "--rounds", 1, "--num-threads", 1)

    assert done.returncode == 0, done.stderr
    forms = ("any text", "digits", "JSON strings", "JSON object")
    rows = [line for line in done.stdout.splitlines() if line.startswith(forms)]
    assert [line.split("  ")[0].strip() for line in rows] == [*forms, *forms]
