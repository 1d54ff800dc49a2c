"""How many tokens a text is, roughly: without a network, and cheap enough to ask of a whole history."""

from agent.llm.base import Prompt, PromptMessage

_PER_CHARACTER = 0.27  # English, Spanish and Portuguese chat: 3.7 to 4.5 characters a token
_PER_EXTRA_BYTE = 0.3  # UTF-8 bytes beyond one a character: CJK 0.9 a character, emoji 1.2, Cyrillic and Arabic 0.6
_PER_MESSAGE = 4  # role and separators


def estimate_tokens(text: str) -> int:
    """An estimate: real tokenizers differ from each other by more than this differs from them. Leans to too many."""
    if text.isascii():
        return int(len(text) * _PER_CHARACTER) + 1 if text else 0
    extra = len(text.encode("utf-8", "surrogatepass")) - len(text)
    return int(len(text) * _PER_CHARACTER + extra * _PER_EXTRA_BYTE) + 1


def estimate_message_tokens(message: PromptMessage) -> int:
    calls = sum(estimate_tokens(call.name) + estimate_tokens(call.arguments) for call in message.tool_requests)
    return _PER_MESSAGE + estimate_tokens(message.text) + calls


def estimate_prompt_tokens(prompt: Prompt) -> int:
    """Messages and tools together. A tool's schema is counted by its printed length, which is close to its JSON."""
    tools = sum(estimate_tokens(f"{tool.name} {tool.description} {tool.parameters}") for tool in prompt.tools)
    return tools + sum(map(estimate_message_tokens, prompt.messages))
