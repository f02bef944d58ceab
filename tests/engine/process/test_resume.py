"""The client's record of a sequence: the request that goes on where the dead engine stopped."""

from weft.engine.process.messages import EngineOutput, EngineRequest
from weft.engine.process.resume import OpenSequence
from weft.sampling_params import SamplingParams


def test_a_resumed_request_has_the_tokens_and_what_mirostat_had_learned():
    sequence = OpenSequence(EngineRequest(request_id="a", prompt_token_ids=[1, 2], eos_token_ids=[], arrival_time=0.0,
                                          params=SamplingParams(mirostat=2, max_tokens=9)))
    for token_id, mu in ((5, 9.5), (6, 8.25)):
        sequence.record(EngineOutput(request_id="a", new_token_ids=[token_id], mirostat_mu=mu))

    resumed = sequence.resumed()

    assert (resumed.output_token_ids, resumed.mirostat_mu) == ([5, 6], 8.25)
