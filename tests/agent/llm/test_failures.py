"""What a failure of a model server means, in the words that servers have for it."""

# ruff: noqa: E501  (the servers' own words)

import pytest

from agent.llm.base import (
    ContentFiltered,
    ContextTooLong,
    ModelError,
    ModelUnavailable,
)
from tests.support.openai_formats import openai_error

CONTEXT_TOO_LONG = {
    "openai": (
        400,
        openai_error("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000."),
    ),
    "openai code": (400, openai_error("Too long.", code="context_length_exceeded")),
    "openai responses": (
        400,
        openai_error("Your input exceeds the context window of this model. Please adjust your input."),
    ),
    "openai tpm": (
        429,
        openai_error(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000.",
            code="rate_limit_exceeded",
        ),
    ),
    "azure": (
        400,
        openai_error("Input tokens exceed the configured limit of 272000 tokens.", code="context_length_exceeded"),
    ),
    "anthropic": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"},
        },
    ),
    "anthropic limit": (
        400,
        openai_error("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"),
    ),
    "anthropic 413": (
        413,
        {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}},
    ),
    "bedrock": (400, {"message": "Input is too long for requested model."}),
    "vllm": (
        400,
        {
            "object": "error",
            "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "vllm limit": (
        400,
        openai_error(
            "'max_tokens' or 'max_completion_tokens' is too large: 2048. This model's maximum context length is 4096 tokens and your request has 3000 input tokens"
        ),
    ),
    "vllm none left": (400, openai_error("max_tokens must be at least 1, got -500.")),
    "sglang": (400, openai_error("The input (5000 tokens) is longer than the model's context length (4096 tokens).")),
    "tgi": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 20 `max_new_tokens`",
            "error_type": "validation",
        },
    ),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
                "type": "exceed_context_size_error",
            }
        },
    ),
    "llama.cpp 500": (
        500,
        {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}},
    ),
    "ollama": (400, {"error": "prompt too long; exceeded max context length by 17 tokens"}),
    "ollama 500": (500, {"error": "the input length exceeds the context length"}),
    "lm studio": (
        400,
        {
            "error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."
        },
    ),
    "lm studio keep": (
        400,
        {"error": "The number of tokens to keep from the initial prompt is greater than the context length."},
    ),
    "gemini": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    "mistral": (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            "type": "invalid_request_prompt",
            "code": "3051",
        },
    ),
    "groq": (
        413,
        openai_error(
            "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000",
            code="rate_limit_exceeded",
        ),
    ),
    "groq 400": (400, openai_error("Please reduce the length of the messages or completion.", param="messages")),
    "openrouter": (
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens.",
                "code": 400,
            }
        },
    ),
    "openrouter raw": (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": '{"error":{"message":"prompt is too long: 9 tokens > 8 maximum"}}'},
            }
        },
    ),
    "xai": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        },
    ),
    "cohere": (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    "kimi": (400, openai_error("Invalid request: Your request exceeded model token limit: 8192")),
    "zhipu": (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    "dashscope": (400, openai_error("Range of input length should be [1, 30720]")),
    "github": (
        413,
        {
            "error": {
                "code": "tokens_limit_reached",
                "message": "Request body too large for gpt-4o model. Max size: 8000 tokens.",
            }
        },
    ),
    "plain text": (400, "context window exceeded"),
    "total": (400, openai_error("The total number of tokens exceeds the model's limit")),
    "at most": (400, openai_error("This model supports at most 4096 tokens in context")),
    "n_ctx": (500, openai_error("The input exceeds n_ctx")),
    "cache": (500, openai_error("KV cache is full")),
    "sequence": (400, openai_error("Sequence length too long")),
    "greater": (422, openai_error("Number of tokens in prompt is greater than the maximum")),
    "prompt has": (400, openai_error("Prompt has 5000 tokens, but model context is 4096")),
    "spanish": (400, openai_error("El contexto es demasiado largo")),
    "chinese": (400, openai_error("上下文长度超过限制")),
    "maximum": (400, openai_error("Maximum tokens exceeded")),
}


@pytest.mark.parametrize(("status", "body"), CONTEXT_TOO_LONG.values(), ids=CONTEXT_TOO_LONG)
def test_a_context_that_is_too_long_is_recognised_in_every_wording(model, server, prompt_of, status, body):
    server.answer(body, status=status)
    with pytest.raises(ContextTooLong) as failed:
        model.complete(prompt_of())
    assert (failed.value.code, server.count) == ("context_too_long", 1)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000."),
        (400, "max_tokens is too large: 100000. This model supports at most 16384 completion tokens."),
        (400, "The value of a parameter is wrong."),
        (500, "The server had an error."),
    ],
)
def test_another_failure_is_not_taken_for_a_long_context(model, server, prompt_of, status, message):
    server.answer(openai_error(message), status=status)
    with pytest.raises(ModelError) as failed:
        model.complete(prompt_of())
    assert not isinstance(failed.value, ContextTooLong | ContentFiltered)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, openai_error("The response was filtered.", code="content_filter")),
        (400, {"error": {"message": "x", "code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        (
            400,
            openai_error(
                "Invalid prompt: your prompt was flagged as violating our usage policy.", code="invalid_prompt"
            ),
        ),
        (400, {"type": "error", "error": {"message": "Output blocked by content filtering policy"}}),
        (400, openai_error("Content Exists Risk")),
        (400, openai_error("The prompt was blocked.")),
        (403, openai_error("Your input was flagged by moderation.")),
        (422, openai_error("Moderation failed: harassment")),
        (400, openai_error("Guardrail intervened.")),
        (400, openai_error("Your request contains harmful content.")),
        (400, openai_error("This request violates our terms of service.")),
        (400, openai_error("Input data may contain inappropriate content.", code="data_inspection_failed")),
        (403, {"error": {"code": 403, "message": "Your chosen model requires moderation and your input was flagged."}}),
    ],
)
def test_a_filtered_prompt_is_raised_as_content_filtered(model, server, prompt_of, status, body):
    server.answer(body, status=status)
    with pytest.raises(ContentFiltered) as failed:
        model.complete(prompt_of())
    assert failed.value.code == "content_filter"


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "content_filter: PROHIBITED_CONTENT", "sensitive"])
def test_a_filtered_answer_is_raised_as_content_filtered(model, server, prompt_of, reason):
    server.answer(
        {
            "choices": [{"message": {"content": "Half an ans"}, "finish_reason": reason}],
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "Half an ans"}]}],
        }
    )
    with pytest.raises(ContentFiltered):
        model.complete(prompt_of())


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_an_answer_that_was_cut_off_has_the_finish_reason_length(model, server, prompt_of, reason):
    server.answer(
        {
            "choices": [{"message": {"content": "Half an ans"}, "finish_reason": reason}],
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "Half an ans"}]}],
        }
    )
    completion = model.complete(prompt_of())
    assert (completion.finish_reason, completion.was_cut_off) == ("length", True)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, openai_error("Incorrect API key provided."), "unauthorized"),
        (403, openai_error("You may not use this model."), "unauthorized"),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}], "unauthorized"),
        (404, openai_error("The model `x` does not exist.", code="model_not_found"), "model_not_found"),
        (404, {"error": "model 'x' not found, try pulling it first"}, "model_not_found"),
        (400, {"error": {"message": "x is not a valid model ID", "code": 400}}, "model_not_found"),
        (
            429,
            openai_error("You exceeded your current quota, please check your plan.", code="insufficient_quota"),
            "insufficient_quota",
        ),
        (402, openai_error("Insufficient Balance"), "insufficient_quota"),
        (400, openai_error("Your credit balance is too low to access the API."), "insufficient_quota"),
        (403, openai_error("Key limit exceeded (total limit)."), "insufficient_quota"),
        (429, openai_error("Usage limit reached for this month, upgrade your plan."), "insufficient_quota"),
        (400, openai_error("The model x has been deprecated."), "model_not_found"),
        (500, openai_error("model 'x' not found"), "model_not_found"),
        (503, openai_error("No available channel for model x."), "model_not_found"),
        (400, openai_error("Authentication failed."), "unauthorized"),
    ],
)
def test_a_failure_that_an_operator_must_repair_needs_an_operator(model, server, prompt_of, status, body, code):
    server.answer(body, status=status)
    with pytest.raises(ModelError) as failed:
        model.complete(prompt_of())
    assert (failed.value.code, failed.value.needs_operator) == (code, True)


def test_a_limit_per_minute_is_not_an_exhausted_quota(model, server, prompt_of):
    server.answer(
        [{"error": {"code": 429, "message": "Quota exceeded for requests per minute. Please retry in 37s."}}],
        status=429,
    )
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of())
    assert (failed.value.code, failed.value.needs_operator) == ("rate_limited", False)
