"""Tool calls in spellings that few models use: each is run like any other."""

import json

import pytest

from agent.llm.base import ToolSpec
from agent.llm.reading.thoughts import remove_thoughts
from agent.llm.reading.written_calls import extract_calls

SEARCH = ToolSpec(
    name="search_messages",
    description="Search the messages.",
    parameters={"type": "object", "properties": {"words": {"type": "string"}, "limit": {"type": "integer"}}},
)
HAND_OFF = ToolSpec(name="hand_off", description="Ask for a person.", parameters={"type": "object"})
ARGUMENTS = '{"words": "pool"}'
CALL = '{"name": "search_messages", "arguments": {"words": "pool"}}'

SPELLINGS = [
    "<tool>" + CALL + "</tool>",
    "[TOOL_REQUEST]" + CALL + "[END_TOOL_REQUEST]",
    "<search_messages><words>pool</words></search_messages>",
    "<search_messages>" + ARGUMENTS + "</search_messages>",
    '<search_messages words="pool"/>',
    "<tool_use><name>search_messages</name><arguments>" + ARGUMENTS + "</arguments></tool_use>",
    "<tool_call><name>search_messages</name><arguments>" + ARGUMENTS + "</arguments></tool_call>",
    '<tool_call name="search_messages">' + ARGUMENTS + "</tool_call>",
    "<|plugin|>" + CALL + "<|action_end|>",
    'Action: search_messages(words="pool")',
    '{"tool_name": "search_messages", "tool_arguments": ' + ARGUMENTS + "}",
    '{"function": "search_messages", "words": "pool"}',
    '{"tool": "search_messages", "words": "pool"}',
    '{"name": "search_messages", "words": "pool"}',
    "to=functions.search_messages " + ARGUMENTS,
    "functions.search_messages:0 " + ARGUMENTS,
    "<function>search_messages</function><parameters>" + ARGUMENTS + "</parameters>",
    "<function(search_messages)>" + ARGUMENTS + "</function>",
    "<function=search_messages(" + ARGUMENTS + ")></function>",
    "<function/search_messages>" + ARGUMENTS + "</function>",
    '<|FunctionCallBegin|>[{"name":"search_messages","parameters":' + ARGUMENTS + "}]<|FunctionCallEnd|>",
    "✿FUNCTION✿: search_messages\n✿ARGS✿: " + ARGUMENTS,
    "✿FUNCTION✿: search_messages\n✿ARGS✿: " + ARGUMENTS + "\n✿RESULT✿",
    "<longcat_tool_call>search_messages\n<longcat_arg_key>words</longcat_arg_key>\n"
    "<longcat_arg_value>pool</longcat_arg_value>\n</longcat_tool_call>",
    '[search_messages words="pool"]',
    "[search_messages: " + ARGUMENTS + "]",
    "Tool call: search_messages(" + ARGUMENTS + ")",
    "Calling search_messages with " + ARGUMENTS,
    "Tool: search_messages\nArguments: " + ARGUMENTS,
    "Function: search_messages\nArguments: " + ARGUMENTS,
    '**search_messages**(words="pool")',
    '<tool_code>print(search_messages(words="pool"))</tool_code>',
    '<execute_tool>search_messages(words="pool")</execute_tool>',
    "<use_tool>" + CALL + "</use_tool>",
    "<call>" + CALL + "</call>",
    "<action>" + CALL + "</action>",
    "<tool_calls><tool_call>" + CALL + "</tool_call></tool_calls>",
    '<function_call name="search_messages">' + ARGUMENTS + "</function_call>",
    '<xai:function_call name="search_messages"><parameter name="words">pool</parameter></xai:function_call>',
    "<|tool|>" + CALL,
    "&lt;tool_call&gt;" + CALL + "&lt;/tool_call&gt;",
    '{"toolName":"search_messages","args":' + ARGUMENTS + "}",
    '{"toolCall":{"name":"search_messages","args":' + ARGUMENTS + "}}",
    '{"functionCall":{"name":"search_messages","args":' + ARGUMENTS + "}}",
    '{"method":"search_messages","params":' + ARGUMENTS + "}",
    '{"command":"search_messages","arguments":' + ARGUMENTS + "}",
    "{'name': 'search_messages', 'arguments': {'words': 'pool'}}",
    '{name: "search_messages", arguments: {words: "pool"}}',
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_call_in_an_unusual_spelling_is_a_tool_call(text):
    extracted = extract_calls(remove_thoughts(text), [SEARCH, HAND_OFF])
    (call,) = extracted.calls
    assert (call.name, json.loads(call.arguments)) == ("search_messages", {"words": "pool"})
    assert (extracted.text, extracted.dropped) == ("", False)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("<search_messages words='pool' limit='3'/>", {"words": "pool", "limit": 3}),
        ("<search_messages><words>pool</words><limit>3</limit></search_messages>", {"words": "pool", "limit": 3}),
        ("[search_messages words=pool limit=3]", {"words": "pool", "limit": 3}),
    ],
)
def test_arguments_written_as_attributes_or_elements_have_the_type_of_the_schema(text, arguments):
    (call,) = extract_calls(text, [SEARCH]).calls
    assert json.loads(call.arguments) == arguments


def test_a_call_without_arguments_may_be_an_empty_element():
    (call,) = extract_calls("Wait.\n<hand_off/>", [SEARCH, HAND_OFF]).calls
    assert (call.name, call.arguments) == ("hand_off", "{}")


def test_a_call_whose_arguments_cannot_be_read_is_removed_and_reported():
    extracted = extract_calls("One moment. <search_messages>the pool</search_messages>", [SEARCH])
    assert (extracted.text, extracted.calls, extracted.dropped) == ("One moment.", (), True)


@pytest.mark.parametrize(
    "text",
    [
        "I am calling a colleague with {name}.",
        "Use the tool: a hammer (size 3).",
        "Tool: hammer\nArguments: none",
        "[1] {see below}",
        "**Important**(really)",
        "You can search_messages yourself.",
        '{"method": "card", "params": {"limit": 3}}',
        "<b>words</b> and <tool> boxes",
    ],
)
def test_a_text_that_only_looks_like_a_call_stays_as_it_is(text):
    extracted = extract_calls(text, [SEARCH, HAND_OFF])
    assert (extracted.text, extracted.calls, extracted.dropped) == (text, (), False)


HOSTILE = [
    "<search_messages " * 4_000,
    "<search_messages>" * 3_800,
    "<tool_call name=a>" * 3_500,
    "<name>search_messages</name><args>" * 1_900,
    "[search_messages {" * 3_600,
    "[search_messages" + " a=b" * 16_000,
    "✿FUNCTION✿: a ✿ARGS✿: " * 2_800,
    "<function=a({" * 5_000,
    "<|plugin|>{" * 5_900,
    "{name: " * 9_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_read_in_bounded_time(text, budget_s):
    with budget_s(3):
        assert extract_calls(text, [SEARCH, HAND_OFF]).calls == ()
