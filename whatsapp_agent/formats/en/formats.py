"""How the admin writes times: everywhere alike, and so that nobody takes a day for a month."""

DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = "Y-m-d"
TIME_FORMAT = "H:i:s"
