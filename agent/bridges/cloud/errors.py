"""Meta's error codes: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes"""

from agent.bridges.parsing import Fields

MEANINGS: dict[int, str] = {
    **dict.fromkeys((0, 3, 10, 190, 131005, *range(200, 300)), "unauthorized"),
    **dict.fromkeys((4, 80007, 130429, 131056), "rate_limited"),
    **dict.fromkeys((131048, 131064, 131031, 368, 130497, 131042, 131037, 131045, 133010, 133016), "restricted"),
    **dict.fromkeys((131030, 131049, 131050, 130472, 137000), "refused"),
    131047: "window_closed",
    **dict.fromkeys((131026, 131021), "not_on_whatsapp"),
    **dict.fromkeys((100, 131008, 131009, 131051, 131052, 131053, 131062), "invalid"),
    **dict.fromkeys((132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016), "invalid"),
    **dict.fromkeys((2, 131000, 131016, 131057, 135000), "bridge_failure"),
}
PAIR_RATE = 131056
PAIR_RATE_WAIT_S = 6.0
PAYMENT = 131042
UNKNOWN_OBJECT = 33  # the subcode of 100 for an id that does not exist, or that this token may not see
RETRYABLE = frozenset({"rate_limited", "not_connected", "bridge_failure"})


def meaning_of(code: int | None, subcode: int | None = None) -> str:
    """Return what a code means, in the words of `BridgeError.code`; one that we do not know is refused."""
    if code == 100 and subcode == UNKNOWN_OBJECT:
        return "not_found"
    return MEANINGS.get(code, "refused") if code is not None else "bridge_failure"


def error_text(error: Fields) -> str:
    """Return an error in words for staff. Meta's details name no person."""
    details = error.maybe_object("error_data")
    return (details.short("details") if details else None) or error.short("title") or error.short("message") or ""
