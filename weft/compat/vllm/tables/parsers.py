"""What parsers of tool calls and of reasoning import, in vLLM's versions from 0.6 to 0.33."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

_OWN = "weft.text.vllm_parsers"
_PROTOCOL = ("vllm.entrypoints.openai.protocol", "vllm.entrypoints.openai.engine.protocol",
             "vllm.entrypoints.generate.base.protocol")
_REQUESTS = ("vllm.entrypoints.openai.protocol", "vllm.entrypoints.openai.chat_completion.protocol")
_TOOLS = ("vllm.tool_parsers", "vllm.tool_parsers.abstract_tool_parser", "vllm.entrypoints.openai.tool_parsers",
          "vllm.entrypoints.openai.tool_parsers.abstract_tool_parser")
_REASONING = ("vllm.reasoning", "vllm.reasoning.abs_reasoning_parsers", "vllm.entrypoints.openai.reasoning_parsers",
              "vllm.entrypoints.openai.reasoning_parsers.abs_reasoning_parsers")

PARSERS = (
    Row(f"{_OWN}.messages", "DeltaFunctionCall DeltaMessage DeltaToolCall ExtractedToolCallInformation FunctionCall "
        "FunctionDefinition ToolCall", *_PROTOCOL),
    Row(f"{_OWN}.messages", "ChatCompletionRequest ChatCompletionToolsParam", *_REQUESTS),
    Row(f"{_OWN}.messages", "make_tool_call_id random_tool_call_id=make_tool_call_id", "vllm.entrypoints.chat_utils"),
    Row(f"{_OWN}.bases", "ToolParser", *_TOOLS),
    Row(f"{_OWN}.managers", "ToolParserManager", *_TOOLS),
    Row(f"{_OWN}.bases", "ReasoningParser", *_REASONING),
    Row(f"{_OWN}.managers", "ReasoningParserManager", *_REASONING),
    Row(f"{_OWN}.bases", "BaseThinkingReasoningParser", "vllm.reasoning.basic_parsers"),
    Row(f"{_OWN}.bases", "DeepSeekR1ReasoningParser", "vllm.reasoning.deepseek_r1_reasoning_parser",
        "vllm.entrypoints.openai.reasoning_parsers.deepseek_r1_reasoning_parser", "vllm.reasoning"),
    Row(f"{_OWN}.helpers", "consume_space extract_intermediate_diff find_all_indices find_common_prefix "
        "find_common_suffix is_complete_json", "vllm.tool_parsers.utils", "vllm.entrypoints.openai.tool_parsers.utils"),
)
