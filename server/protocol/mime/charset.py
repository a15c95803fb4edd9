"""Charsets of mail: octets in any label seen in the wild become text, never an error.

- Only codecs of our own table are looked up: a peer's label never reaches Python's codec search, which would import
  modules by name, keep every miss for ever and offer codecs that are no charsets.
- Labels mean what senders mean: gb2312 is gb18030, ks_c_5601 is cp949, shift_jis is cp932, iso-8859-1 is cp1252,
  or UTF-8 where it is valid.
- The result holds no lone surrogate; octets outside the charset become U+FFFD.

RFC 2045 §5.1, RFC 2978; the WHATWG encoding standard for what labels mean in practice.
"""

from __future__ import annotations

import re

_CODECS = {
    **{f"iso8859{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **{f"windows{n}": f"cp{n}" for n in (1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258)},
    **{f"cp{n}": f"cp{n}" for n in (437, 850, 852, 855, 857, 858, 862, 864, 866, 869, 874, 949, 950)},
    **{f"{name}{n}": f"cp{n}" for name in ("cp", "win") for n in range(1250, 1259)},
    **{f"ibm{n}": f"cp{n}" for n in (437, 850, 852, 855, 857, 858, 862, 864, 866, 869)},
    "iso88591": "cp1252",
    "latin1": "cp1252",
    "l1": "cp1252",
    "iso88598i": "iso8859-8",
    "iso88598e": "iso8859-8",
    "iso88596i": "iso8859-6",
    "iso88599": "cp1254",
    "iso885911": "cp874",
    "latin2": "iso8859-2",
    "latin9": "iso8859-15",
    "tis620": "cp874",
    "windows874": "cp874",
    "gb2312": "gb18030",
    "gb231280": "gb18030",
    "xgbk": "gb18030",
    "gbk": "gb18030",
    "cp936": "gb18030",
    "gb18030": "gb18030",
    "euccn": "gb18030",
    "hzgb2312": "hz",
    "big5": "cp950",
    "cnbig5": "cp950",
    "big5hkscs": "big5hkscs",
    "euckr": "cp949",
    "ksc5601": "cp949",
    "ksc56011987": "cp949",
    "ksc56011989": "cp949",
    "windows949": "cp949",
    "iso2022kr": "iso2022_kr",
    "johab": "johab",
    "shiftjis": "cp932",
    "sjis": "cp932",
    "xsjis": "cp932",
    "mskanji": "cp932",
    "windows31j": "cp932",
    "cp932": "cp932",
    "eucjp": "euc_jp",
    "xeucjp": "euc_jp",
    "iso2022jp": "iso2022_jp_ext",
    "iso2022jp1": "iso2022_jp_ext",
    "iso2022jp2": "iso2022_jp_2",
    "iso2022jp3": "iso2022_jp_3",
    "iso2022jp2004": "iso2022_jp_2004",
    "iso2022jpms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "cp50221": "iso2022_jp_ext",
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "koi8ru": "koi8-u",
    "koi8t": "koi8-t",
    "macintosh": "mac-roman",
    "xmacroman": "mac-roman",
    "macroman": "mac-roman",
    "xmaccyrillic": "mac-cyrillic",
    "utf8": "utf-8",
    "utf7": "utf-7",
    "unicode11utf7": "utf-7",
    "utf16": "utf-16",
    "utf16le": "utf-16-le",
    "utf16be": "utf-16-be",
    "utf32": "utf-32",
    "utf32le": "utf-32-le",
    "utf32be": "utf-32-be",
}
_LABEL_MAX = 64
_BEYOND_ASCII = re.compile("[^\x00-\x7f\ufffd]")
_NOT_LABEL = re.compile(r"[^a-z0-9]+")
_JIS_SEGMENT = re.compile(rb"\x1b\$[@B]([^\x1b\r\n]*+)(?:\x1b\([BJ])?")


def decode_charset(octets: bytes, label: str) -> str:
    """Decode octets by a charset label of a message.

    Args:
        octets: Whole text; the work is linear in it.
        label: As written by the sender, with or without an RFC 2231 language; unknown labels (and none) mean
            UTF-8 where it is valid, else windows-1252.
    """
    key = _NOT_LABEL.sub("", label[:_LABEL_MAX].lower())
    codec = _CODECS.get(key)
    if codec is None:
        return decode_unlabelled(octets)
    if codec == "cp1252":
        return octets.decode("ascii") if octets.isascii() else _decode_latin(octets)
    if codec == "utf-8":
        return _decode_utf8(octets)
    if codec == "utf-7":
        return octets.decode("utf-7", "replace").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if codec == "iso2022_jp_ext":
        return _decode_iso2022_jp(octets)
    return octets.decode(codec, "replace")


def _decode_latin(octets: bytes) -> str:
    """Decode octets labelled as Latin-1: UTF-8 by mistake only when all of it is valid, to its last octet."""
    try:
        return decode_unlabelled(octets) if b"\x1b$" in octets else octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def decode_unlabelled(octets: bytes) -> str:
    """Decode octets without a usable label: UTF-8, else windows-1252 (RFC 6532 §3; 8-bit mail of old senders).

    Escapes into JIS X 0208 mean ISO-2022-JP, which old programs of Japan send as it is. Mail labelled as Latin-1 comes
    here too: text of that charset is never valid UTF-8 by chance, but UTF-8 is labelled so by mistake.
    """
    if b"\x1b$" in octets:
        return _decode_iso2022_jp(octets)
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        # A cut through the last character does not make the rest another charset.
        if error.reason == "unexpected end of data":
            return octets.decode("utf-8", "replace")
        return octets.decode("cp1252", "replace")


def _decode_utf8(octets: bytes) -> str:
    """Decode what is labelled UTF-8; where no character beyond ASCII is, it is windows-1252."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        text = octets.decode("utf-8", "replace")
        cut = error.reason == "unexpected end of data"
        return text if cut or _BEYOND_ASCII.search(text) else octets.decode("cp1252", "replace")


def _decode_iso2022_jp(octets: bytes) -> str:
    """Decode ISO-2022-JP and its Microsoft form, whose rows 13 and 89-120 only cp932 knows."""
    try:
        return octets.decode("iso2022_jp_ext")
    except UnicodeDecodeError:
        return _JIS_SEGMENT.sub(_jis_to_cp932, octets).decode("cp932", "replace")


def _jis_to_cp932(segment: re.Match[bytes]) -> bytes:
    """Shift the two-octet codes of one JIS X 0208 segment into their Shift_JIS places."""
    codes = segment[1]
    shifted = bytearray()
    for first, second in zip(codes[0::2], codes[1::2], strict=False):
        row = (first - 0x21) >> 1
        shifted.append((row + (0x81 if row < 31 else 0xC1)) & 0xFF)
        shifted.append((second + (0x1F if second < 0x60 else 0x20) if first & 1 else second + 0x7E) & 0xFF)
    return bytes(shifted)
