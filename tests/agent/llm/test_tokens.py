"""Estimates beside what a tokenizer counts: near enough for a budget."""

import pytest

from agent.llm.base import Prompt, PromptMessage, Role, ToolRequest, ToolSpec
from agent.llm.tokens import estimate_message_tokens, estimate_prompt_tokens, estimate_tokens

COUNTED = [  # with o200k_base
    ("Hello, how are you doing today? I would like to book a table for two people tomorrow evening", 20),
    ("ok thanks!", 3),
    ("Olá, bom dia! Gostaria de saber se vocês têm quartos disponíveis para o próximo fim de semana,", 21),
    ("Hola, ¿podrías decirme a qué hora abre la piscina mañana? También quisiera cambiar la", 20),
    ("Guten Tag, ich hätte gern ein Doppelzimmer für zwei Nächte, mit Frühstück. Außerdem bräuchten", 22),
    ("Здравствуйте! Скажите, пожалуйста, есть ли у вас свободные номера на следующие выходные и", 19),
    ("مرحبا، هل لديكم غرف متاحة في نهاية الأسبوع القادم؟ وكم سعر الليلة الواحدة مع الإفطار؟", 25),
    ("नमस्ते, क्या आपके पास अगले सप्ताहांत के लिए कमरे उपलब्ध हैं? नाश्ते के साथ एक रात का कितना", 27),
    ("你好，请问下周末还有空房间吗？含早餐一晚多少钱？我们两个大人和一个小孩。", 27),
    ("こんにちは。来週末に空いている部屋はありますか？朝食付きで一泊いくらですか？", 26),
    ("안녕하세요, 다음 주말에 빈 방이 있나요? 조식 포함 하룻밤에 얼마인가요?", 25),
    ("สวัสดีค่ะ สุดสัปดาห์หน้ามีห้องว่างไหมคะ ราคาต่อคืนรวมอาหารเช้าเท่าไหร่", 34),
    ("😀😂🥰👍🙏🎉🔥❤️", 10),
    ("👨\u200d👩\u200d👧\u200d👦👩🏽\u200d💻🏳️\u200d🌈🇧🇷🇵🇹", 32),
    ("Perfeito!! 😍😍 Pode confirmar 14/11 às 20h? 🙏", 19),
    ("https://example.com/booking/7f3a91c2-55d0-4b1e-9f1a?ref=whatsapp&utm_source=campaign", 37),
    ('{"type": "object", "properties": {"words": {"type": "string", "description": "What to look', 25),
    ("5511988887777 4111111111111111 2026-11-23T01:22:33Z", 26),
]


@pytest.mark.parametrize(("text", "counted"), COUNTED)
def test_an_estimate_is_near_what_a_tokenizer_counts(text, counted):
    assert 0.65 * counted <= estimate_tokens(text) <= 2.5 * counted


def test_only_an_empty_text_is_estimated_at_no_tokens():
    assert estimate_tokens("") == 0
    assert estimate_tokens(" ") > 0


def test_halves_of_a_surrogate_pair_are_counted_too():
    assert estimate_tokens("\ud83d") > 0


def test_a_longer_text_is_never_estimated_at_fewer_tokens():
    estimates = [estimate_tokens("palavra é 字" * length) for length in range(100)]
    assert estimates == sorted(estimates)


def test_a_message_is_estimated_with_its_overhead_and_its_calls():
    plain = PromptMessage(Role.ASSISTANT, "Hello")
    calling = PromptMessage(Role.ASSISTANT, "Hello", tool_requests=(ToolRequest("1", "search", '{"words": "pool"}'),))
    assert estimate_tokens("Hello") < estimate_message_tokens(plain) < estimate_message_tokens(calling)


def test_a_prompt_is_estimated_with_its_messages_and_its_tools():
    messages = (PromptMessage(Role.USER, "Hello"),) * 3
    tool = ToolSpec("search", "Search what was said.", {"type": "object"})
    bare = estimate_prompt_tokens(Prompt(model="any", messages=messages))
    assert bare == 3 * estimate_message_tokens(messages[0])
    assert estimate_prompt_tokens(Prompt(model="any", messages=messages, tools=(tool,))) > bare
