"""The formats of tool calls, as data: for each name of `--tool-call-parser` what a model writes.

Several names may mean one format, because vLLM has a name for each model that has it. A chat template belongs to the
first format of the table all of whose signs it has.
"""

from __future__ import annotations

from weft.text.tools.calls import kimi_id, mistral_id
from weft.text.tools.harmony import MARKS, HarmonyMachine
from weft.text.tools.header_body import HeaderBody
from weft.text.tools.json_body import JsonBody
from weft.text.tools.literal_body import LiteralBody
from weft.text.tools.marked import MarkedFormat
from weft.text.tools.mistral_body import MistralBody
from weft.text.tools.python_body import PythonBody
from weft.text.tools.tool_format import ToolFormat
from weft.text.tools.xml_body import XmlBody

_OBJECTS, _LIST, _EITHER = JsonBody(lists=False), JsonBody(objects=False), JsonBody()
_SEP, _DSML = "<｜tool▁sep｜>", "｜DSML｜"
_DEEPSEEK = {"opens": ("<｜tool▁call▁begin｜>",), "dropped": ("<｜tool▁calls▁begin｜>",),
             "closes": ("<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>")}
_QWEN_XML = XmlBody(call=("<function=", ">"), call_end="</function>", parameter=("<parameter=", ">"),
                    value_end="</parameter>", wraps=True)
_DSML_BODY = XmlBody(call=(f'<{_DSML}invoke name="', '">'), call_end=f"</{_DSML}invoke>",
                     parameter=(f'<{_DSML}parameter name="', '">'), value_end=f"</{_DSML}parameter>",
                     key=r'(?P<name>[^"]+)(?:" string="(?P<string>true|false))?')

FORMATS: tuple[ToolFormat, ...] = (
    ToolFormat(
        names=("openai",), models="gpt-oss (harmony)", signs=("<|channel|>", "<|message|>"), marks=MARKS,
        machine=HarmonyMachine,
        example='<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1, "b": "x"}<|call|>'),
    ToolFormat(
        names=("qwen3_coder", "qwen3_xml", "mimo", "step3p5"), models="Qwen3-Coder, Qwen3.5, MiMo, Step-3.5",
        signs=("<tool_call>", "<function="),
        form=MarkedFormat(body=_QWEN_XML, opens=("<tool_call>", "<function="), closes=("</tool_call>",)),
        example="<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\nx\n</parameter>\n"
                "</function>\n</tool_call>"),
    ToolFormat(
        names=("seed_oss",), models="Seed-OSS", signs=("<seed:tool_call>",),
        form=MarkedFormat(body=_QWEN_XML, opens=("<seed:tool_call>",), closes=("</seed:tool_call>",)),
        example="<seed:tool_call><function=add><parameter=a>1</parameter><parameter=b>x</parameter></function>"
                "</seed:tool_call>"),
    ToolFormat(
        names=("minimax_m2",), models="MiniMax-M2", signs=("<minimax:tool_call>",),
        form=MarkedFormat(
            body=XmlBody(call=('<invoke name="', '">'), call_end="</invoke>", parameter=('<parameter name="', '">'),
                         value_end="</parameter>"),
            opens=("<minimax:tool_call>",), closes=("</minimax:tool_call>",)),
        example='<minimax:tool_call>\n<invoke name="add">\n<parameter name="a">1</parameter>\n'
                '<parameter name="b">x</parameter>\n</invoke>\n</minimax:tool_call>'),
    ToolFormat(
        names=("deepseek_v32",), models="DeepSeek-V3.2", signs=(_DSML,),
        form=MarkedFormat(
            body=_DSML_BODY, opens=(f"<{_DSML}function_calls>",), closes=(f"</{_DSML}function_calls>",)),
        example=f'<{_DSML}function_calls>\n<{_DSML}invoke name="add">\n'
                f'<{_DSML}parameter name="a" string="false">1</{_DSML}parameter>\n'
                f'<{_DSML}parameter name="b" string="true">x</{_DSML}parameter>\n'
                f"</{_DSML}invoke>\n</{_DSML}function_calls>"),
    ToolFormat(
        names=("deepseek_v4",), models="DeepSeek-V4", signs=(f"<{_DSML}tool_calls>",),
        form=MarkedFormat(body=_DSML_BODY, opens=(f"<{_DSML}tool_calls>",), closes=(f"</{_DSML}tool_calls>",)),
        example=f'<{_DSML}tool_calls>\n<{_DSML}invoke name="add">\n'
                f'<{_DSML}parameter name="a" string="false">1</{_DSML}parameter>\n'
                f'<{_DSML}parameter name="b" string="true">x</{_DSML}parameter>\n'
                f"</{_DSML}invoke>\n</{_DSML}tool_calls>"),
    ToolFormat(
        names=("step3",), models="Step3", signs=("steptml",), marks=("<｜tool_sep｜>", "<｜tool_call_begin｜>"),
        form=MarkedFormat(
            body=XmlBody(call=('<steptml:invoke name="', '">'), call_end="</steptml:invoke>",
                         parameter=('<steptml:parameter name="', '">'), value_end="</steptml:parameter>"),
            opens=('<steptml:invoke name="',),
            dropped=("<｜tool_calls_begin｜>", "<｜tool_call_begin｜>function<｜tool_sep｜>"),
            closes=("<｜tool_call_end｜>", "<｜tool_calls_end｜>")),
        example='<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="add">'
                '<steptml:parameter name="a">1</steptml:parameter><steptml:parameter name="b">x</steptml:parameter>'
                "</steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜>"),
    ToolFormat(
        names=("hy_v3",), models="Hunyuan 3", signs=("<tool_sep>", "<arg_key>"),
        form=MarkedFormat(
            body=XmlBody(call=("<tool_call>", "<tool_sep>"), call_end="</tool_call>",
                         parameter=("<arg_key>", "</arg_key>"), value="<arg_value>", value_end="</arg_value>"),
            opens=("<tool_call>",), dropped=("<tool_calls>",), closes=("</tool_calls>",)),
        example="<tool_calls><tool_call>add<tool_sep><arg_key>a</arg_key><arg_value>1</arg_value>"
                "<arg_key>b</arg_key><arg_value>x</arg_value></tool_call></tool_calls>"),
    ToolFormat(
        names=("glm45", "glm47", "hyperclovax_seed_think", "poolside_v1"),
        models="GLM-4.5 to 4.7, HyperCLOVA X SEED Think, Laguna",
        signs=("<tool_call>", "<arg_key>"),
        form=MarkedFormat(
            body=XmlBody(call=None, call_end="</tool_call>", parameter=("<arg_key>", "</arg_key>"),
                         value="<arg_value>", value_end="</arg_value>"),
            opens=("<tool_call>",)),
        example="<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>b</arg_key>\n"
                "<arg_value>x</arg_value>\n</tool_call>"),
    ToolFormat(
        names=("solar_open2",), models="Solar Open 2", signs=("<|tool_arg:start|>",),
        form=MarkedFormat(
            body=XmlBody(call=("<|tool_call:start|>", "\n"), call_end="<|tool_call:end|>",
                         parameter=("<|tool_arg:start|>", "<|tool_arg:value|>"), value_end="<|tool_arg:end|>"),
            opens=("<|tool_call:start|>",)),
        example="<|tool_call:start|>add\n<|tool_arg:start|>a<|tool_arg:value|>1<|tool_arg:end|>\n"
                "<|tool_arg:start|>b<|tool_arg:value|>x<|tool_arg:end|>\n<|tool_call:end|>"),
    ToolFormat(
        names=("minicpm5",), models="MiniCPM 5", signs=("<param name=",),
        form=MarkedFormat(
            body=XmlBody(call=('<function name="', '">'), call_end="</function>", parameter=('<param name="', '">'),
                         value_end="</param>", cdata=("<![CDATA[", "]]>")),
            opens=('<function name="',)),
        example='<function name="add"><param name="a">1</param><param name="b"><![CDATA[x]]></param></function>'),
    ToolFormat(
        names=("kimi_k3",), models="Kimi K3", signs=("<|open|>tools",),
        form=MarkedFormat(
            body=XmlBody(
                call=("<|open|>call ", "<|sep|>"), call_end="<|close|>call<|sep|>",
                parameter=("<|open|>argument ", "<|sep|>"), value_end="<|close|>argument<|sep|>",
                name=r'tool="(?P<name>[^"]+)".*', key=r'key="(?P<name>[^"]*)"(?: type="(?P<string>[^"]*)")?.*',
                whole=('<|open|>json type="object"<|sep|>', "<|close|>json<|sep|>"), is_escaped=True),
            opens=("<|open|>call ",),
            dropped=("<|open|>tools<|sep|>", "<|open|>response<|sep|>", "<|close|>response<|sep|>",
                     "<|close|>message<|sep|>"),
            closes=("<|close|>tools<|sep|>",)),
        example='<|open|>tools<|sep|><|open|>call tool="add" index="1"<|sep|>'
                '<|open|>argument key="a" type="number"<|sep|>1<|close|>argument<|sep|>'
                '<|open|>argument key="b" type="string"<|sep|>x<|close|>argument<|sep|>'
                "<|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>"),
    ToolFormat(
        names=("kimi_k2",), models="Kimi K2", signs=("<|tool_call_argument_begin|>",),
        form=MarkedFormat(
            body=HeaderBody(r"(?P<id>(?:functions\.)?(?P<name>[^\s:]+)(?::\d+)?)", ("<|tool_call_argument_begin|>",)),
            opens=("<|tool_call_begin|>",), dropped=("<|tool_calls_section_begin|>",),
            closes=("<|tool_call_end|>", "<|tool_calls_section_end|>"), new_id=kimi_id),
        tag=("<|tool_call_begin|>", "<|tool_call_begin|>functions.NAME:{INDEX}<|tool_call_argument_begin|>",
             "<|tool_call_end|>"),
        example='<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>'
                '{"a": 1, "b": "x"}<|tool_call_end|><|tool_calls_section_end|>'),
    ToolFormat(
        names=("deepseek_v3",), models="DeepSeek-V3, R1", signs=("<｜tool▁calls▁begin｜>", "```json"), marks=(_SEP,),
        form=MarkedFormat(body=HeaderBody(rf"(?:function{_SEP})?(?P<name>\S+)", ("```json", "{")), **_DEEPSEEK),
        tag=("<｜tool▁call▁begin｜>", f"<｜tool▁call▁begin｜>function{_SEP}NAME\n```json\n",
             "\n```<｜tool▁call▁end｜>"),
        example=f'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function{_SEP}add\n```json\n{{"a": 1, "b": "x"}}\n```'
                "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
    ToolFormat(
        names=("deepseek_v31",), models="DeepSeek-V3.1", signs=("<｜tool▁calls▁begin｜>",),
        form=MarkedFormat(body=HeaderBody(r"(?P<name>\S+)", (_SEP,)), **_DEEPSEEK),
        tag=("<｜tool▁call▁begin｜>", f"<｜tool▁call▁begin｜>NAME{_SEP}", "<｜tool▁call▁end｜>"),
        example=f'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add{_SEP}{{"a": 1, "b": "x"}}<｜tool▁call▁end｜>'
                "<｜tool▁calls▁end｜>"),
    ToolFormat(
        names=("functiongemma",), models="FunctionGemma", signs=("<start_function_call>",),
        form=MarkedFormat(body=LiteralBody("<escape>"), opens=("<start_function_call>",),
                          closes=("<end_function_call>",)),
        example="<start_function_call>call:add{a:1,b:<escape>x<escape>}<end_function_call>"),
    ToolFormat(
        names=("gemma4",), models="Gemma 4", signs=("<|tool_call>",),
        form=MarkedFormat(body=LiteralBody('<|"|>'), opens=("<|tool_call>",), closes=("<tool_call|>",)),
        example='<|tool_call>call:add{a:1,b:<|"|>x<|"|>}<tool_call|>'),
    ToolFormat(
        names=("mistral",), models="Mistral, Ministral, Magistral, Devstral", signs=("[TOOL_CALLS]",),
        form=MarkedFormat(body=MistralBody(), opens=("[TOOL_CALLS]",), new_id=mistral_id),
        tag=("[TOOL_CALLS]", "[TOOL_CALLS]NAME[ARGS]", ""),
        example='[TOOL_CALLS]add[ARGS]{"a": 1, "b": "x"}'),
    ToolFormat(
        names=("granite",), models="Granite 3", signs=("<|tool_call|>",),
        form=MarkedFormat(body=_EITHER, opens=("<|tool_call|>", "<tool_call>"), closes=("</tool_call>",)),
        example='<|tool_call|>[{"name": "add", "arguments": {"a": 1, "b": "x"}}]'),
    ToolFormat(
        names=("granite-20b-fc",), models="Granite 20B function calling", signs=("<function_call>",),
        form=MarkedFormat(body=_OBJECTS, opens=("<function_call>",)),
        tag=("<function_call>", '<function_call> {"name": "NAME", "arguments": ', "}"),
        example='<function_call> {"name": "add", "arguments": {"a": 1, "b": "x"}}'),
    ToolFormat(
        names=("internlm",), models="InternLM 2.5", signs=("<|action_start|>",),
        form=MarkedFormat(body=_OBJECTS, opens=("<|action_start|><|plugin|>", "<|action_start|> <|plugin|>"),
                          closes=("<|action_end|>",)),
        tag=("<|action_start|>", '<|action_start|><|plugin|>{"name": "NAME", "parameters": ', "}<|action_end|>"),
        example='<|action_start|><|plugin|>{"name": "add", "parameters": {"a": 1, "b": "x"}}<|action_end|>'),
    ToolFormat(
        names=("jamba", "hunyuan_a13b", "minimax"), models="Jamba, Hunyuan A13B, MiniMax-M1", signs=("<tool_calls>",),
        form=MarkedFormat(body=_EITHER, opens=("<tool_calls>",), closes=("</tool_calls>",)),
        example='<tool_calls>[{"name": "add", "arguments": {"a": 1, "b": "x"}}]</tool_calls>'),
    ToolFormat(
        names=("olmo3",), models="OLMo 3", signs=("<function_calls>",),
        form=MarkedFormat(body=PythonBody(brackets=False), opens=("<function_calls>",), closes=("</function_calls>",)),
        example="<function_calls>add(a=1, b='x')</function_calls>"),
    ToolFormat(
        names=("lfm2",), models="LFM2", signs=("<|tool_call_start|>",),
        form=MarkedFormat(body=PythonBody(), opens=("<|tool_call_start|>",), closes=("<|tool_call_end|>",)),
        example='<|tool_call_start|>[add(a=1, b="x")]<|tool_call_end|>'),
    ToolFormat(
        names=("phi4_mini_json",), models="Phi-4-mini", signs=("functools",),
        form=MarkedFormat(body=_LIST, opens=("functools",)),
        example='functools[{"name": "add", "arguments": {"a": 1, "b": "x"}}]'),
    ToolFormat(
        names=("hyperclovax_seed_think_14b",), models="HyperCLOVA X SEED Think 14B", signs=("-> tool/function_call",),
        form=MarkedFormat(body=_LIST, opens=("-> tool/function_call",), bare=True),
        example=' -> tool/function_call\n[{"name": "add", "arguments": {"a": 1, "b": "x"}}]'),
    ToolFormat(
        names=("gigachat3",), models="GigaChat 3", signs=("<|role_sep|>", "function call"),
        form=MarkedFormat(body=_OBJECTS, opens=("function call<|role_sep|>", "<|function_call|>"),
                          dropped=("<|message_sep|>",)),
        example='<|message_sep|>\n\nfunction call<|role_sep|>\n{"name": "add", "arguments": {"a": 1, "b": "x"}}'),
    ToolFormat(
        names=("longcat",), models="LongCat-Flash", signs=("<longcat_tool_call>",),
        form=MarkedFormat(body=_OBJECTS, opens=("<longcat_tool_call>",), closes=("</longcat_tool_call>",)),
        tag=("<longcat_tool_call>", '<longcat_tool_call>\n{"name": "NAME", "arguments": ', "}\n</longcat_tool_call>"),
        example='<longcat_tool_call>{"name": "add", "arguments": {"a": 1, "b": "x"}}</longcat_tool_call>'),
    ToolFormat(
        names=("apertus",), models="Apertus", signs=("<|tools_prefix|>",),
        form=MarkedFormat(body=JsonBody(name_is_key=True), opens=("<|tools_prefix|>",), closes=("<|tools_suffix|>",)),
        example='<|tools_prefix|>[{"add": {"a": 1, "b": "x"}}]<|tools_suffix|>'),
    ToolFormat(
        names=("cohere_command3", "cohere_command4"), models="Command A, A+ and R7B", signs=("<|START_ACTION|>",),
        form=MarkedFormat(body=_EITHER, opens=("<|START_ACTION|>",), closes=("<|END_ACTION|>",)),
        example='<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "add", "parameters": {"a": 1, "b": "x"}}]'
                "<|END_ACTION|>"),
    ToolFormat(
        names=("llama4_pythonic",), models="Llama 4", signs=("<|header_start|>", "func_name1("),
        form=MarkedFormat(body=PythonBody(), opens=("<|python_start|>",), closes=("<|python_end|>",), bare=True),
        example='<|python_start|>[add(a=1, b="x")]<|python_end|>'),
    ToolFormat(
        names=("pythonic",), models="Llama 3.2, ToolACE", signs=("func_name1(",),
        form=MarkedFormat(body=PythonBody(), bare=True),
        example='[add(a=1, b="x")]'),
    ToolFormat(
        names=("llama3_json", "llama4_json"), models="Llama 3.1, 3.2, 3.3, 4",
        signs=(("<|python_tag|>", "<|python_start|>", "Environment: ipython"), "parameters"),
        form=MarkedFormat(body=_EITHER, opens=("<|python_tag|>", "<|python_start|>"), closes=("<|python_end|>",),
                          bare=True),
        example='{"name": "add", "parameters": {"a": 1, "b": "x"}}'),
    ToolFormat(
        names=("hermes", "granite4", "ernie45", "qwen3_json"),
        models="Hermes, Qwen2.5, Qwen3, QwQ, Granite 4, ERNIE 4.5",
        signs=("<tool_call>",),
        form=MarkedFormat(body=_EITHER, opens=("<tool_call>",), closes=("</tool_call>",)),
        tag=("<tool_call>", '<tool_call>\n{"name": "NAME", "arguments": ', "}\n</tool_call>"),
        example='<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "x"}}\n</tool_call>'),
    ToolFormat(
        names=("xlam",), models="xLAM",
        form=MarkedFormat(body=_LIST, opens=("<tool_call>", "[TOOL_CALLS]"), fences=("```json",),
                          closes=("</tool_call>",), bare=True),
        example='[{"name": "add", "arguments": {"a": 1, "b": "x"}}]'),
)
