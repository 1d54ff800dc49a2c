"""Files of some types, as much of them as it takes to recognise the type."""

JPEG = b"\xff\xd8\xff\xe0" + b"\x00" * 60
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 60
WEBP = b"RIFF\x50\x00\x00\x00WEBPVP8 " + b"\x00" * 60
PDF = b"%PDF-1.7\n" + b"\x00" * 60
OGG = b"OggS" + b"\x00" * 60
MP4 = b"\x00\x00\x00\x18ftypisom" + b"\x00" * 60
