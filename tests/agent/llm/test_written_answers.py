"""What models write around their answers: thoughts, and tool calls as text."""

import json

import pytest

from agent.llm.base import ModelUnavailable, PromptMessage, Role, ToolRequest, ToolSpec
from agent.llm.reading.thoughts import remove_thoughts
from agent.llm.reading.written_calls import extract_calls

SEARCH = ToolSpec(
    name="search_messages",
    description="Search what was said.",
    parameters={"type": "object", "properties": {"words": {"type": "string"}, "limit": {"type": "integer"}}},
)
HAND_OFF = ToolSpec(name="hand_off", description="Ask for a person.", parameters={"type": "object"})
ARGUMENTS = '{"words": "pool"}'
CALL = '{"name": "search_messages", "arguments": {"words": "pool"}}'


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a</think>Hello<think>b</think> you", "Hello you"),
        ("Sure!\n\n<thinking>They want…\n\nso</thinking>\n\nIt opens at 9.", "Sure!\n\nIt opens at 9."),
        ("<thought>x</thought>Hi", "Hi"),
        ("<reasoning>x</reasoning>\nHi", "Hi"),
        ("<analysis>x</analysis>Hi", "Hi"),
        ("<THINK>x</THINK>Hi", "Hi"),
        ("<think>x</thinking>Hi", "Hi"),
        ("<think>a <think>b</think> c</think>Hi", "Hi"),
        ("Hi <think>never closed", "Hi"),
        ("a</think>b</think>Hi", "Hi"),
        ("[THINK]x[/THINK]Hi", "Hi"),
        ("◁think▷x◁/think▷Hi", "Hi"),
        ("<seed:think>x</seed:think>Hi", "Hi"),
        ("<|START_THINKING|>x<|END_THINKING|><|START_RESPONSE|>Hi<|END_RESPONSE|>", "Hi"),
        ("<|channel>thought\nx<channel|>Hi<turn|>", "Hi"),
        ("<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>Hi<|return|>", "Hi"),
        ("analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>Hi", "Hi"),
        ("analysisWe need to greet.assistantfinalHi", "Hi"),
        ("Here is my thought process:\nx\n\nHere is my response:\nHi", "Hi"),
        ("<think>x</think><answer>Hi</answer>", "Hi"),
        ("<think>a lone ` in a thought</think>Use `code`", "Use `code`"),
        ("Hi<|im_end|>", "Hi"),
        ("< think >x</ think >Hi", "Hi"),
        ("&lt;think&gt;x&lt;/think&gt;Hi", "Hi"),
        ("<think>x<\\/think>Hi", "Hi"),
        ("<thought_process>x</thought_process>Hi", "Hi"),
        ("<chain-of-thought>x</chain-of-thought>Hi", "Hi"),
        ("<antThinking>x</antThinking>Hi", "Hi"),
        ("<deep_think>x</deep_think>Hi", "Hi"),
        ("<START_THINKING>x<END_THINKING>Hi", "Hi"),
        ("<|begin_think|>x<|end_think|>Hi", "Hi"),
        ("<｜thinking｜>x<｜/thinking｜>Hi", "Hi"),
        ("<unused94>thought\nx<unused95>Hi", "Hi"),
        ("[think]x[/think]Hi", "Hi"),
        ("[BEGIN_THOUGHT]x[END_THOUGHT]Hi", "Hi"),
        ("<|im_start|>think\nx<|im_end|>\n<|im_start|>answer\nHi<|im_end|>", "Hi"),
        ('<details type="reasoning" done="true"><summary>Thought</summary>x</details>\nHi', "Hi"),
        ("<details>\n<summary>Thinking</summary>\nx\n</details>\nHi", "Hi"),
        ("Thinking...\nThe user greets.\n...done thinking.\n\nHi", "Hi"),
        ("analysisWe need to greet.assistant final Hi", "Hi"),
        ("<think>x</think><output>Hi</output>", "Hi"),
        ("assistant\n\nHi", "Hi"),
        ("Hi<|im_end|>\n<|im_start|>user\nAnd tomorrow?", "Hi"),
        ("<|header_start|>assistant<|header_end|>\n\nHi<|eot|>", "Hi"),
        # talked about
        ("[thinking] Give me a moment.", "[thinking] Give me a moment."),
        ("<details><summary>Prices</summary>R$ 5</details>", "<details><summary>Prices</summary>R$ 5</details>"),
        ("Write `<think>` and `</think>` around it.", "Write `<think>` and `</think>` around it."),
        ("```\n<think>\nx\n</think>\n```\nis a block.", "```\n<think>\nx\n</think>\n```\nis a block."),
        ("analysis of data is what we do", "analysis of data is what we do"),
        ("a < b and [1] > c", "a < b and [1] > c"),
    ],
)
def test_thoughts_are_removed_and_the_answer_stays(model, server, prompt_of, text, answer):
    server.say(text)
    assert model.complete(prompt_of()).text == answer


@pytest.mark.parametrize("text", ["<think>a", "<|channel|>analysis<|message|>only", "<think>a</think>", "x</think>"])
def test_thoughts_alone_are_an_empty_answer(model, server, prompt_of, text):
    server.say(text)
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of())
    assert failed.value.code == "empty"
    assert failed.value.usage.prompt_tokens > 0


WRITTEN = [
    CALL,
    f"```json\n{CALL}\n```",
    f"`{CALL}`",
    f"[{CALL}]",
    '{"type": "function", "function": {"name": "search_messages", "arguments": "{\\"words\\": \\"pool\\"}"}}',
    '{"type": "function", "name": "search_messages", "parameters": {"words": "pool"}}',
    '{"tool": "search_messages", "args": {"words": "pool"}}',
    f'{{"tool_calls": [{CALL}]}}',
    '{"search_messages": {"words": "pool"}}',
    f"<tool_call>\n{CALL}\n</tool_call>",
    f"<tool_call>{CALL}",
    f"{CALL}\n</tool_call>",
    f"```xml\n<tool_call>{CALL}</tool_call>\n```",
    "<tool_call>{'name': 'search_messages', 'arguments': {'words': 'pool'}}</tool_call>",
    '<tool_call>{"name": "search_messages", "arguments": {"words": "pool"}</tool_call>',
    "<tool_call>\n<function=search_messages>\n<parameter=words>\npool\n</parameter>\n</function>\n</tool_call>",
    "<tool_call>search_messages\n<arg_key>words</arg_key>\n<arg_value>pool</arg_value>\n</tool_call>",
    f"<function=search_messages>{ARGUMENTS}</function>",
    f"<function=search_messages>{ARGUMENTS}",
    f"[TOOL_CALLS] [{CALL}]",
    f"[TOOL_CALLS]search_messages{ARGUMENTS}",
    f"[TOOL_CALLS]search_messages[CALL_ID]abc123xyz[ARGS]{ARGUMENTS}",
    '<minimax:tool_call>\n<invoke name="search_messages">\n<parameter name="words">pool</parameter>\n</invoke>\n'
    "</minimax:tool_call>",
    '<function_calls><invoke name="search_messages"><parameter name="words">pool</parameter></invoke></function_calls>',
    '<|python_tag|>{"name": "search_messages", "parameters": {"words": "pool"}}<|eom_id|>',
    '<|python_tag|>search_messages.call(words="pool")',
    '[search_messages(words="pool")]',
    'search_messages(words="pool")',
    "search_messages " + ARGUMENTS,
    '```tool_code\nprint(default_api.search_messages(words="pool"))\n```',
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>search_messages\n```json\n"
    f"{ARGUMENTS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>search_messages<｜tool▁sep｜>{ARGUMENTS}<｜tool▁call▁end｜>"
    "<｜tool▁calls▁end｜>",
    '<｜DSML｜function_calls>\n<｜DSML｜invoke name="search_messages">\n<｜DSML｜parameter name="words" string="true">'
    "pool</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.search_messages:0<|tool_call_argument_begin|>"
    f"{ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|>",
    f"<|tool_call|>[{CALL}]",
    '<|tool_call>call:search_messages{words:<|"|>pool<|"|>}<tool_call|>',
    "<start_function_call>call:search_messages{words:<escape>pool<escape>}<end_function_call>",
    '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "search_messages", "parameters": {"words": "pool"}}]'
    "<|END_ACTION|>",
    "<seed:tool_call><function=search_messages><parameter=words>pool</parameter></function></seed:tool_call>",
    f"functools[{CALL}]",
    f"<TOOLCALL>[{CALL}]</TOOLCALL>",
    "Thought: I look.\nAction: search_messages\nAction Input: " + ARGUMENTS + "\nObservation: It is on the roof.",
    f"<|channel|>commentary to=functions.search_messages <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
    f"<think>I search.</think>\n\n{CALL}",
    f"<think>I search. <tool_call>{CALL}</tool_call>",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_tool_call_written_as_text_is_a_tool_call(model, server, prompt_of, text):
    server.say(text)
    completion = model.complete(prompt_of(tools=(SEARCH, HAND_OFF)))
    (request,) = completion.tool_requests
    assert (request.name, json.loads(request.arguments)) == ("search_messages", {"words": "pool"})
    assert (completion.text, completion.finish_reason, completion.dropped_tool_call) == ("", "tool_calls", False)


@pytest.mark.parametrize(
    "text",
    [f"One moment, I look.{written}" for written in (f" {CALL}", f"\n```json\n{CALL}\n```", f"\n[TOOL_CALLS][{CALL}]")],
)
def test_the_text_beside_a_written_call_is_the_answer(model, server, prompt_of, text):
    server.say(text)
    completion = model.complete(prompt_of(tools=(SEARCH,)))
    assert (completion.text, len(completion.tool_requests)) == ("One moment, I look.", 1)


def test_several_written_calls_are_several_calls(model, server, prompt_of):
    server.say(
        f'<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>\n<tool_call>{{"name": "hand_off"}}</tool_call>'
    )
    requests = model.complete(prompt_of(tools=(SEARCH, HAND_OFF))).tool_requests
    assert [request.name for request in requests] == ["search_messages", "search_messages", "hand_off"]
    assert len({request.id for request in requests}) == 3


def test_a_written_parameter_has_the_type_of_its_schema(model, server, prompt_of):
    server.say("<function=search_messages><parameter=words>12</parameter><parameter=limit>3</parameter></function>")
    (request,) = model.complete(prompt_of(tools=(SEARCH,))).tool_requests
    assert json.loads(request.arguments) == {"words": "12", "limit": 3}


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>{CALL}</tool_call>",
        f"[TOOL_CALLS][{CALL}]",
        f"<|python_tag|>{CALL}",
        '<invoke name="search_messages"><parameter name="words">pool</parameter></invoke>',
        f"```json\n{CALL}\n```",
        CALL,
        "<tool_call>nonsense {</tool_call>",
    ],
)
def test_a_written_call_of_a_tool_that_is_not_offered_is_removed_and_reported(model, server, prompt_of, text):
    server.say(text, f"Hello.\n{text}")
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of(tools=(HAND_OFF,)))
    assert failed.value.code == "dropped_tool_call"
    completion = model.complete(prompt_of(tools=(HAND_OFF,)))
    assert (completion.text, completion.tool_requests, completion.dropped_tool_call) == ("Hello.", (), True)


def test_a_call_of_a_tool_that_is_no_longer_offered_is_not_sent(model, server, prompt_of):
    server.say(CALL)
    asked = prompt_of()
    request = ToolRequest(id="call_1", name="search_messages", arguments="{}")
    messages = (
        *asked.messages,
        PromptMessage(Role.ASSISTANT, "", tool_requests=(request,)),
        PromptMessage(Role.TOOL, "Nothing.", tool_call_id="call_1"),
    )
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(type(asked)(model=asked.model, messages=messages))
    assert failed.value.code == "dropped_tool_call"


@pytest.mark.parametrize(
    "text",
    [
        "Use `<tool_call>` for that.",
        '```\n<tool_call>{"name": "x"}</tool_call>\n```',
        '{"name": "Ana", "age": 3}',
        'Our menu: {"name": "Pizza", "price": 3}',
        "I (the agent) call you.",
        "f(x) = 2",
        'Look at `{"a": 1}`.',
        '```json\n{"name": "Ana", "arguments": 3}\n```',
        'Search {"words": 1}',
    ],
)
def test_a_text_that_calls_no_tool_stays_as_it_is(model, server, prompt_of, text):
    server.say(text)
    completion = model.complete(prompt_of(tools=(SEARCH, HAND_OFF)))
    assert (completion.text, completion.tool_requests, completion.dropped_tool_call) == (text, (), False)


def test_json_is_an_answer_where_no_tool_is_offered(model, server, prompt_of):
    server.say(CALL)
    assert model.complete(prompt_of()).text == CALL


HOSTILE = [
    "<" * 65_000,
    "<think>" * 9_000,
    "</think>" * 8_000,
    "`" * 65_000,
    '{"a":' * 13_000,
    '[{"' * 20_000,
    "<tool_call>" * 6_000,
    "<function=a>" * 5_000,
    "<tool_call><function=a>" + "<parameter=b>" * 5_000,
    "[TOOL_CALLS]" + "a " * 30_000,
    "[TOOL_CALLS]" + "," * 65_000,
    "<|channel|>" * 6_000,
    "analysis" + "assistant" * 7_000,
    "<" + " " * 65_000,
    "\n" * 65_000 + "Action:",
    "Here is my thought process:" * 2_000 + " " * 9_000,
    "Thinking...\n" * 5_000,
    "<details type=reasoning" * 2_800,
    "[think]" * 9_000,
    "&lt;think&gt;" * 4_500,
    "<end_of_turn>" * 5_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_answer_is_read_in_bounded_time_and_calls_nothing(text, budget_s):
    with budget_s(3):
        extracted = extract_calls(remove_thoughts(text), [SEARCH])
    assert extracted.calls == ()
    assert len(extracted.text) <= len(text)
