"""What requests to Graph name: a number, a business account, a recipient. All raise Refused."""

from agent.bridges.cloud.payloads import USER_ID
from agent.bridges.exchange import Refused


def number_path(phone_number_id: str) -> str:
    if not phone_number_id.isdecimal():
        raise Refused("The name of this session has to be a phone_number_id.", code="invalid")
    return f"/{phone_number_id}"


def account_path(account: str) -> str:
    if not account.isascii() or not account.isdecimal():
        raise Refused("The id of a business account consists of digits.", code="invalid")
    return f"/{account}"


def recipient(address: str) -> dict[str, str]:
    """Return whom to write to: a phone, a business-scoped id, or a group. Addresses of linked phones are persons."""
    digits = address.removesuffix("@s.whatsapp.net").removesuffix("@c.us").removeprefix("+")
    if digits.isdecimal():
        return {"recipient_type": "individual", "to": digits}
    if USER_ID.fullmatch(address):
        return {"recipient_type": "individual", "recipient": address}
    if not address or "@" in address:
        raise Refused("Nobody can be written to there.", code="unsupported_recipient")
    return {"recipient_type": "group", "to": address}
