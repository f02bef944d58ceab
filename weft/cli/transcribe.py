"""`weft transcribe`: writes down what a file of audio says, with an engine that the command starts."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.cli.files import check_output
from weft.cli.options import add_engine_options, engine_args
from weft.cli.parser import Parser
from weft.cli.texts import model_and, output_to
from weft.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from weft.async_llm import AsyncLLM
    from weft.outputs import RequestOutput
    from weft.sampling_params import SamplingParams
    from weft.server.speech.answers import Speech

FORMS = ("text", "srt", "vtt", "json", "verbose_json")


def add_arguments(parser: Parser) -> None:
    """The model, the file, what is wanted, and engine options."""
    parser.usage = "weft transcribe MODEL FILE [options]"
    parser.add_argument("arguments", metavar="MODEL FILE", nargs="*",
                        help="a model such as openai/whisper-small, and a file of audio (WAV, FLAC, MP3, Ogg)")
    parser.add_argument("-f", "--format", choices=FORMS, default="text",
                        help="text, subtitles (srt, vtt), or JSON as of /v1/audio/transcriptions (default: text)")
    parser.add_argument("-o", "--output-file", metavar="FILE", help="where the answer goes (default: standard output)")
    parser.add_argument("--language", metavar="CODE", help="of the speech, such as en (default: what the model hears)")
    parser.add_argument("--translate", action="store_true", help="write it down in English")
    parser.add_argument("--prompt", metavar="TEXT", default="",
                        help="a text that came before, or names to look out for")
    add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Write down what one file says."""
    [path] = model_and(("FILE",), options)
    if options.output_file is not None:
        check_output("--output-file", options.output_file)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError("FILE", path, expected="a file of audio", hint=f"{error.strerror}.") from error
    from weft.async_llm import AsyncLLM  # slow to import, as is what follows
    from weft.server.speech.answers import written

    engine = AsyncLLM.from_engine_args(engine_args(options))
    try:
        speech = asyncio.run(_recognised(engine, data, options))
    finally:
        engine.shutdown()
    with output_to(options.output_file) as output:
        output.write(written(speech, options.format)[0].decode().rstrip("\n") + "\n")
    return 0


async def _recognised(engine: AsyncLLM, data: bytes, options: argparse.Namespace) -> Speech:
    from weft.media.encoded_audio import EncodedAudio
    from weft.sampling_params import SamplingParams
    from weft.server.speech.recognised import PIECES_AT_ONCE, Recognition

    model = engine.config.model
    if engine.info.encoder_row_size is None or engine.tokenizer is None:
        raise ConfigError("MODEL", model.name, expected="a model that turns speech into text, such as Whisper, with a "
                          "tokenizer")
    recognition = Recognition.read(
        model, engine.tokenizer, engine.info.max_model_len, task="translate" if options.translate else "transcribe",
        language=options.language, form=options.format, earlier=options.prompt)
    pieces = await engine.read_speech(EncodedAudio(field="FILE", data=data))
    if recognition.needs_language:
        recognition = recognition.with_heard(await _answer(engine, *recognition.language_question(pieces[0]), "heard"))
    params = SamplingParams(temperature=0, max_tokens=None, detokenize=False,
                            logprobs=0 if options.format == "verbose_json" else None)
    outputs: list[RequestOutput] = []
    prompts = list(enumerate(recognition.prompts(pieces)))
    for first in range(0, len(prompts), PIECES_AT_ONCE):
        outputs += await asyncio.gather(*(_answer(engine, prompt, params, f"piece-{i}")
                                          for i, prompt in prompts[first : first + PIECES_AT_ONCE]))
    return recognition.speech(pieces, outputs, params.temperature)


async def _answer(engine: AsyncLLM, prompt: dict[str, Any], params: SamplingParams, request_id: str) -> RequestOutput:
    """The finished output of one prompt. RequestError if the engine failed at it."""
    found = None
    async with aclosing(engine.generate(prompt, params, request_id)) as outputs:
        async for output in outputs:
            found = output
    assert found is not None, "a request has an output"
    if found.error is not None:
        raise RequestError("FILE", request_id, expected="a piece of audio that the engine can answer", hint=found.error)
    return found
