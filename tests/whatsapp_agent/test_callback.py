from whatsapp_agent.callback import Callback


def test_a_callback_calls_what_was_provided_last_and_its_default_after_none():
    greet = Callback[[str], str](default=lambda name: f"nobody greets {name}")
    assert greet("Ana") == "nobody greets Ana"
    greet.provide(lambda name: f"Hello, {name}")
    assert greet("Ana") == "Hello, Ana"
    greet.provide(None)
    assert greet("Ana") == "nobody greets Ana"
