"""What changes with each prompt stands beside the user's last words, and nowhere before them."""

from agent.llm.base import Prompt, PromptMessage, Role, ToolRequest

SYSTEM = PromptMessage(role=Role.SYSTEM, text="You are kind.")
HELLO = PromptMessage(role=Role.USER, text="Hello")
HI = PromptMessage(role=Role.ASSISTANT, text="Hi")
CALL = PromptMessage(role=Role.ASSISTANT, text="", tool_requests=(ToolRequest("1", "look", "{}"),))
TOLD = PromptMessage(role=Role.TOOL, text="seen", tool_call_id="1")


def with_notes(*messages: PromptMessage) -> list[tuple[str, str]]:
    prompt = Prompt(model="m", messages=messages, notes="NOTES")
    return [(message.role.value, message.text) for message in prompt.messages_with_notes()]


def test_notes_are_appended_to_the_last_user_message():
    assert with_notes(SYSTEM, HELLO, HI, HELLO)[1:] == [
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "Hello\n\nNOTES"),
    ]


def test_notes_stay_in_place_when_tool_calls_follow():
    assert with_notes(SYSTEM, HELLO, CALL, TOLD)[1] == ("user", "Hello\n\nNOTES")


def test_notes_are_a_message_of_their_own_when_the_user_did_not_write_last():
    assert with_notes(SYSTEM, HELLO, HI)[-1] == ("user", "NOTES")
    assert with_notes(SYSTEM, HELLO, HI, CALL, TOLD)[3] == ("user", "NOTES")
    assert with_notes(SYSTEM)[-1] == ("user", "NOTES")


def test_without_notes_nothing_is_added():
    prompt = Prompt(model="m", messages=(SYSTEM, HELLO))
    assert prompt.messages_with_notes() == prompt.messages
