"""Detect a file's type by its first bytes, and by its extension where several types share a container.

Magic numbers: https://en.wikipedia.org/wiki/List_of_file_signatures. ISO brands: https://mp4ra.org/registered-types/brands.
"""

import codecs
import re
import unicodedata
from pathlib import PurePosixPath

HEAD_BYTES = 4096
OTHER = "application/octet-stream"
PLAIN_TEXT = "text/plain"

# What begins like this is that: (bytes, at which offset, type).
SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"OggS", 0, "audio/ogg"),
    (b"ID3", 0, "audio/mpeg"),
    (b"\xff\xfb", 0, "audio/mpeg"),
    (b"\xff\xf3", 0, "audio/mpeg"),
    (b"#!AMR", 0, "audio/amr"),
    (b"\xff\xf1", 0, "audio/aac"),
    (b"\xff\xf9", 0, "audio/aac"),
    (b"WAVE", 8, "audio/wav"),
    (b"%PDF-", 0, "application/pdf"),
    (b"{\\rtf", 0, "application/rtf"),
    (b"7z\xbc\xaf\x27\x1c", 0, "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", 0, "application/vnd.rar"),
    (b"\x1f\x8b", 0, "application/gzip"),
)
ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # Office until 2003, and newer files with a password
ISO_MEDIA = b"ftyp"
AUDIO_BRANDS = (b"M4A", b"M4B", b"M4P")
DOCUMENT_BRANDS = {  # of the same container, and not what WhatsApp plays or shows
    b"qt": "video/quicktime",
    b"hei": "image/heic",
    b"hev": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"avi": "image/avif",
    b"crx": "image/x-canon-cr3",
}

_OPENXML = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."
OFFICE = {
    ".docx": f"{_OPENXML}wordprocessingml.document",
    ".docm": "application/vnd.ms-word.document.macroEnabled.12",
    ".dotx": f"{_OPENXML}wordprocessingml.template",
    ".xlsx": f"{_OPENXML}spreadsheetml.sheet",
    ".xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    ".xlsb": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
    ".xltx": f"{_OPENXML}spreadsheetml.template",
    ".pptx": f"{_OPENXML}presentationml.presentation",
    ".pptm": "application/vnd.ms-powerpoint.presentation.macroEnabled.12",
    ".ppsx": f"{_OPENXML}presentationml.slideshow",
    ".ppsm": "application/vnd.ms-powerpoint.slideshow.macroEnabled.12",
    ".potx": f"{_OPENXML}presentationml.template",
    ".odt": f"{_ODF}text",
    ".ott": f"{_ODF}text-template",
    ".ods": f"{_ODF}spreadsheet",
    ".ots": f"{_ODF}spreadsheet-template",
    ".odp": f"{_ODF}presentation",
    ".odg": f"{_ODF}graphics",
    ".epub": "application/epub+zip",
    ".kmz": "application/vnd.google-earth.kmz",
    ".zip": "application/zip",
}
OPENXML_FOLDERS = {b"word/": ".docx", b"xl/": ".xlsx", b"ppt/": ".pptx"}
LEGACY_OFFICE = {
    ".doc": "application/msword",
    ".dot": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".xlt": "application/vnd.ms-excel",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pps": "application/vnd.ms-powerpoint",
    ".msg": "application/vnd.ms-outlook",
    ".vsd": "application/vnd.visio",
    ".pub": "application/x-mspublisher",
}
TEXTS = {
    ".txt": PLAIN_TEXT,
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".json": "application/json",
    ".vcf": "text/vcard",
    ".ics": "text/calendar",
    ".tsv": "text/tab-separated-values",
    ".xml": "application/xml",
}
EXTENSIONS = {
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/gif": (".gif",),
    "image/webp": (".webp",),
    "audio/mp4": (".m4a", ".m4b"),
    "audio/ogg": (".ogg", ".oga", ".opus"),
    "audio/mpeg": (".mp3",),
    "audio/amr": (".amr",),
    "audio/aac": (".aac",),
    "audio/wav": (".wav",),
    "video/3gpp": (".3gp", ".3g2"),
    "video/mp4": (".mp4", ".m4v"),
    "video/quicktime": (".mov", ".qt"),
    "image/heic": (".heic", ".heif"),
    "image/heif": (".heif", ".heic"),
    "image/avif": (".avif",),
    "application/pdf": (".pdf",),
    "application/rtf": (".rtf", ".doc"),
    "application/x-7z-compressed": (".7z",),
    "application/vnd.rar": (".rar",),
}
for _extension, _mime_type in (OFFICE | LEGACY_OFFICE | TEXTS).items():
    EXTENSIONS[_mime_type] = (*EXTENSIONS.get(_mime_type, ()), _extension)

# A file that is called so has to be so, else nobody could open it.
CHECKED_EXTENSIONS = frozenset(
    extension
    for mime_type, extensions in EXTENSIONS.items()
    for extension in extensions
    if mime_type.startswith(("image/", "audio/", "video/")) or mime_type == "application/pdf" or extension in OFFICE
)
RUNS_CODE = frozenset(  # what opens as a program, a script or a page when it is tapped
    {
        *(".apk", ".app", ".appx", ".bat", ".cmd", ".com", ".cpl", ".dll", ".exe", ".gadget", ".hta", ".htm", ".html"),
        *(".ipa", ".jar", ".js", ".jse", ".lnk", ".mht", ".mhtml", ".msi", ".msp", ".pif", ".ps1", ".reg", ".scr"),
        *(".sh", ".svg", ".svgz", ".url", ".vb", ".vbe", ".vbs", ".wsf", ".xapk", ".xhtml"),
    }
)
PROGRAMS = (b"MZ", b"\x7fELF", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"#!/")
_PAGE = re.compile(
    rb"^\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+(?:html|svg)|html|head|body|script|svg)\b", re.I | re.S
)
SUPPORTED = (
    "images (JPEG, PNG, WebP, GIF), videos (MP4, 3GP), audio (Ogg, MP3, M4A, AAC, AMR, WAV), PDF, office documents, "
    "texts, archives, and any other file as a document under its own name"
)


def extension_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def detect(head: bytes, *, name: str = "") -> str | None:
    """Return the MIME type of a file that begins with `head`, OTHER for a document of another type.

    Programs, scripts and pages are documents like others, of no type that runs: `file_response` serves every file as
    a download. None: it is not what its extension says. `name` without characters that hide something:
    `media.clean_name`.
    """
    extension = extension_of(name)
    mime_type = _by_container(head, extension=extension)
    if mime_type is not None:
        return mime_type
    if extension in CHECKED_EXTENSIONS or not name:
        return None
    is_text = _is_text(head)
    if extension in TEXTS:
        return TEXTS[extension] if is_text else None
    return PLAIN_TEXT if is_text else OTHER


def runs_code(head: bytes, *, name: str) -> bool:
    """Return whether it opens as a program, a script or a page. Staff may send one; received ones are not stored."""
    return extension_of(name) in RUNS_CODE or head.startswith(PROGRAMS) or is_page(head)


def is_page(head: bytes) -> bool:
    """Return whether it is a web page or an SVG drawing: both may run scripts."""
    return bool(_PAGE.match(_without_bom(head)))


def _by_container(head: bytes, *, extension: str) -> str | None:
    for signature, offset, mime_type in SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return mime_type
    if head[4:8] == ISO_MEDIA:
        return _iso_media(head[8:12], extension=extension)
    if head.startswith(ZIP):
        return _zip(head, extension=extension)
    if head.startswith(OLE):
        return (LEGACY_OFFICE | OFFICE).get(extension, OTHER)
    if extension == ".pdf" and b"%PDF-" in head[:1024]:  # some programs write a line before it
        return "application/pdf"
    return None


def _iso_media(brand: bytes, *, extension: str) -> str:
    """Return the type for a brand of the ISO media container, in which video, sound and pictures come."""
    if brand.startswith(AUDIO_BRANDS):
        return "audio/mp4"
    if brand.startswith(b"3g"):
        return "video/3gpp"
    for document_brand, mime_type in DOCUMENT_BRANDS.items():
        if brand.startswith(document_brand):
            return mime_type
    return "audio/mp4" if extension in EXTENSIONS["audio/mp4"] else "video/mp4"


def _zip(head: bytes, *, extension: str) -> str:
    """Return the type of a zip file: by its own declaration, else by its extension, else by its folders."""
    if head[30:38] == b"mimetype":  # ODF and EPUB begin with it, uncompressed
        named = head[38:138].split(b"PK")[0].decode("ascii", "replace")
        if named in OFFICE.values():
            return named
    if extension in OFFICE:
        return OFFICE[extension]
    for folder, office_extension in OPENXML_FOLDERS.items():
        if b"[Content_Types].xml" in head and folder in head:
            return OFFICE[office_extension]
    return OFFICE[".zip"] if extension in CHECKED_EXTENSIONS or not extension else OTHER


def _without_bom(head: bytes) -> bytes:
    for bom, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(bom):
            return head[len(bom) :].decode(encoding, "ignore").encode()
    return head.removeprefix(codecs.BOM_UTF8)


def _is_text(head: bytes) -> bool:
    """Return whether it reads as text: in UTF-8, in UTF-16 with its mark, or in an encoding of one byte a character."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = _without_bom(head).decode()
        return bool(text) and _has_no_controls(text) and any(character.isascii() for character in text)
    try:
        text = head.decode()
    except UnicodeDecodeError as exc:
        text = head[: exc.start].decode() if exc.start >= len(head) - 3 and exc.start else head.decode("latin-1")
    if any("\x80" <= character < "\xa0" for character in text):  # letters in cp1252, controls in Latin-1
        text = re.sub("[\x80-\x9f]", "", text)
    return _has_no_controls(text)


def _has_no_controls(text: str) -> bool:
    return not any(unicodedata.category(character) == "Cc" and character not in "\t\r\n\f" for character in text)
