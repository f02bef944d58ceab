"""How models mark their reasoning, as data: for each name of `--reasoning-parser` the marks and their rules.

A chat template belongs to the first format of the table all of whose signs it has.
"""

from __future__ import annotations

from weft.text.reasoning.reasoning_format import ReasoningFormat
from weft.text.tools.harmony import HarmonyMachine

_ASSISTANT = "<｜Assistant｜>"

FORMATS: tuple[ReasoningFormat, ...] = (
    ReasoningFormat(
        names=("openai_gptoss",), models="gpt-oss (harmony)", starts=("<|channel|>analysis<|message|>",),
        ends=("<|end|><|start|>assistant<|channel|>final<|message|>",), signs=("<|channel|>", "<|message|>"),
        machine=HarmonyMachine),
    ReasoningFormat(
        names=("mistral",), models="Magistral, Ministral 3 Reasoning", starts=("[THINK]",), ends=("[/THINK]",),
        signs=("[THINK]",)),
    ReasoningFormat(
        names=("gemma4",), models="Gemma 4", starts=("<|channel>thought",), ends=("<channel|>",),
        signs=("<|channel>",)),
    ReasoningFormat(
        names=("seed_oss",), models="Seed-OSS", starts=("<seed:think>",), ends=("</seed:think>",),
        signs=("<seed:think>",)),
    ReasoningFormat(
        names=("cohere_command4",), models="Command A+", starts=("<|START_THINKING|>",), ends=("<|END_THINKING|>",),
        dropped=("<|START_TEXT|>", "<|END_TEXT|>"), signs=("<|START_THINKING|>", "<|START_TEXT|>")),
    ReasoningFormat(
        names=("cohere_command3",), models="Command A Reasoning", starts=("<|START_THINKING|>",),
        ends=("<|END_THINKING|>",), dropped=("<|START_RESPONSE|>", "<|END_RESPONSE|>"), signs=("<|START_THINKING|>",)),
    ReasoningFormat(
        names=("kimi_k3",), models="Kimi K3", starts=("<|open|>think<|sep|>",), ends=("<|close|>think<|sep|>",),
        dropped=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
        signs=("<|open|>think",)),
    ReasoningFormat(
        names=("minimax_m2",), models="MiniMax-M2", is_implied=True, signs=("<think>", "<minimax:tool_call>")),
    ReasoningFormat(names=("glm45", "glm47"), models="GLM-4.5 to 4.7", signs=("</think>", "[gMASK]")),
    ReasoningFormat(
        names=("kimi_k2",), models="Kimi K2 Thinking", other_ends=("<|tool_calls_section_begin|>",),
        signs=("</think>", "<|tool_call_argument_begin|>")),
    ReasoningFormat(
        names=("hunyuan_a13b",), models="Hunyuan A13B", dropped=("<answer>", "</answer>"),
        signs=("<think>", "<answer>")),
    ReasoningFormat(
        names=("granite",), models="Granite 3.2, 3.3",
        starts=("Here is my thought process:", "Here's my thought process:", "<think>"),
        ends=("Here is my response:", "Here's my response:", "</think>"), dropped=("<response>", "</response>"),
        signs=(("Here is my thought process:", "Here's my thought process:", "<|start_of_role|>"),
               ("Here is my response:", "Here's my response:", "<response>"))),
    ReasoningFormat(
        names=("ernie45",), models="ERNIE 4.5 Thinking", dropped=("<response>", "</response>"),
        signs=("<think>", "<response>")),
    ReasoningFormat(names=("deepseek_v3", "deepseek_v31", "deepseek_v4"), models="DeepSeek-V3.1, V3.2, V4",
                    signs=(_ASSISTANT, "</think>", "thinking")),
    ReasoningFormat(
        names=("deepseek_r1", "step3", "step3p5", "holo2", "nemotron_v3"),
        models="DeepSeek-R1, Step3, Step-3.5, Holo2, Nemotron",
        is_implied=True, signs=(_ASSISTANT, "</think>")),
    ReasoningFormat(
        names=("olmo3",), models="OLMo 3 Think", is_implied=True,
        signs=("<think>", ("<functions>", "<function_calls>"))),
    ReasoningFormat(
        names=("qwen3", "mimo"), models="Qwen3, QwQ, MiMo", other_ends=("<tool_call>",), signs=("</think>",)),
)
