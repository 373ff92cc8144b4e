"""Reading a list as CSV or XLSX, row by row, whoever made it and whatever is in it.

The file is read twice: once for its shape, so that one which can't be read to its end is refused
before anything of it is used, and once for its rows. Nothing of it is kept in memory but the row
at hand and, of a workbook, its table of texts, which is bounded beforehand.
"""

from __future__ import annotations

import codecs
import csv
import os
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, TextIO

from cli.forms.cells import Cell
from cli.forms.columns import BY_HEADER, plain_header

MOST_ROWS: Final = 100_000
MOST_COLUMNS: Final = 200
LONGEST_CELL: Final = 32_767  # what a cell of Excel can hold
LONGEST_RECORD: Final = 1024 * 1024
MOST_BYTES: Final = 256 * 1024 * 1024
# Of a workbook, unpacked: all of it, and its table of texts, which is read whole.
MOST_UNPACKED: Final = 512 * 1024 * 1024
MOST_TEXTS: Final = 64 * 1024 * 1024
MOST_PARTS: Final = 2_000
OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0"
ZIP_MAGIC: Final = b"PK\x03\x04"
TEXTS: Final = "xl/sharedStrings.xml"

Row = tuple[int, list[Cell]]


class Unreadable(Exception):
    """Why a file can't be read, in one line; nothing of it has been used."""


class Table(Protocol):
    """The rows of a list, as often as they are asked for; the first one holds the headers."""

    def rows(self) -> Iterator[Row]:
        """Each row's number in the file, from 1, and its cells."""
        ...


@contextmanager
def opened(path: Path) -> Iterator[Table]:
    """The table in a file. Raises Unreadable."""
    try:
        # A pipe would block before anybody can look at what it is.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "bad name"
        raise Unreadable(f"无法打开文件 cannot be opened ({why})") from None
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise Unreadable("不是普通文件 not a regular file")
    with os.fdopen(handle, "rb") as file:
        if about.st_size > MOST_BYTES:
            raise Unreadable(f"文件超过 {MOST_BYTES >> 20} MiB too large")
        start = file.read(4)
        file.seek(0)
        if start == OLE_MAGIC:
            raise Unreadable(
                "旧版 .xls 或加密的工作簿，请另存为 .xlsx: an old or encrypted workbook"
            )
        if start != ZIP_MAGIC and path.suffix.lower() == ".xlsx":
            raise Unreadable(
                "名为 .xlsx，内容却不是工作簿 named .xlsx, and no workbook by its content"
            )
        if start == ZIP_MAGIC:
            with _workbook(file) as sheet:
                yield sheet
        else:
            yield _Text(file)


class _Text:
    """Comma-, tab- or semicolon-separated values in UTF-8, GB18030 or UTF-16."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encoding = _encoding_of(file)
        self._delimiter = self._delimiter_of()

    def rows(self) -> Iterator[Row]:
        with self._text() as text:
            yield from self._records(text)

    def _records(self, text: TextIO) -> Iterator[Row]:
        csv.field_size_limit(LONGEST_CELL)
        lines = _Lines(text)
        try:
            for number, record in enumerate(
                csv.reader(lines, delimiter=self._delimiter, strict=True), start=1
            ):
                lines.record_done()
                _check_shape(number, len(record))
                yield number, list(record)
        except csv.Error as error:
            long = "field limit" in str(error)
            why = "单元格过长 a cell is too long" if long else "引号不成对 quotes do not match"
            raise Unreadable(f"{why} (第 {lines.number} 行 line {lines.number})") from None

    def _text(self) -> TextIO:
        self._file.seek(0)
        # Its own descriptor: what is read through it is closed with it.
        return os.fdopen(
            os.dup(self._file.fileno()), "r", encoding=self._encoding, newline="", errors="strict"
        )

    def _delimiter_of(self) -> str:
        """The one that makes the most known headers of the first line."""
        with self._text() as text:
            first = text.readline(LONGEST_RECORD)

        def known(delimiter: str) -> int:
            parts = first.rstrip("\r\n").split(delimiter)
            return sum(plain_header(part.strip('"')) in BY_HEADER for part in parts)

        return max((",", "\t", ";"), key=known)


class _Lines:
    """Lines, none of them and no record of them longer than it may be."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._since_record = 0
        self.number = 0

    def record_done(self) -> None:
        self._since_record = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(LONGEST_RECORD + 1):
            self.number += 1
            self._since_record += len(line)
            if self._since_record > LONGEST_RECORD:
                raise Unreadable(f"第 {self.number} 行过长 line {self.number} is too long")
            yield line


def _encoding_of(file: BinaryIO) -> str:
    start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    elif b"\x00" in start:
        raise Unreadable("不是 CSV 或 XLSX 文件 neither CSV nor XLSX")
    else:
        candidates = ["utf-8-sig", "gb18030"]
    for encoding in candidates:
        if _decodes(file, encoding):
            return encoding
    raise Unreadable("不是 UTF-8 或 GB18030 编码 neither UTF-8 nor GB18030")


def _decodes(file: BinaryIO, encoding: str) -> bool:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        while part := file.read(1 << 16):
            decoder.decode(part)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def _workbook(file: BinaryIO) -> Iterator[Table]:
    _check_package(file)
    import openpyxl  # what it costs to import, a list as CSV need not pay

    # It warns of what it leaves away, such as the template's lists of words.
    warnings.filterwarnings("ignore", module=r"openpyxl\.")
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except Exception as error:  # noqa: BLE001 - on a broken file it raises anything
        raise _broken(error) from None
    try:
        shown = [s for s in book.worksheets if s.sheet_state == "visible"]
        if not shown:
            raise Unreadable("工作簿中没有工作表 the workbook has no sheet")
        yield _Sheet(shown[0])
    finally:
        book.close()


class _Sheet:
    """The first visible sheet of a workbook."""

    def __init__(self, sheet: Any) -> None:
        self._sheet = sheet
        # What the file says of its size is nobody's promise.
        sheet.reset_dimensions()

    def rows(self) -> Iterator[Row]:
        try:
            for number, cells in enumerate(self._sheet.iter_rows(values_only=True), start=1):
                found = list(cells)
                while found and found[-1] is None:
                    found.pop()
                _check_shape(number, len(found))
                if any(isinstance(c, str) and len(c) > LONGEST_CELL for c in found):
                    raise Unreadable(f"第 {number} 行有单元格过长 a cell is too long, row {number}")
                yield number, found
        except Unreadable:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            raise _broken(error) from None


def _broken(error: Exception) -> Unreadable:
    # A library's message may quote what stands in the file; its type may not.
    return Unreadable(f"工作簿已损坏或不是 XLSX: not a sound workbook ({type(error).__name__})")


def _check_shape(number: int, columns: int) -> None:
    if number > MOST_ROWS:
        raise Unreadable(f"超过 {MOST_ROWS} 行，请分成几个文件 more rows than that: split the file")
    if columns > MOST_COLUMNS:
        raise Unreadable(f"第 {number} 行超过 {MOST_COLUMNS} 列 row {number} has too many columns")


def _check_package(file: BinaryIO) -> None:
    """Before anything is unpacked: how large it would be, and that its XML defines nothing."""
    try:
        with zipfile.ZipFile(file) as package:
            parts = package.infolist()
            if len(parts) > MOST_PARTS or sum(p.file_size for p in parts) > MOST_UNPACKED:
                raise Unreadable("工作簿解压后过大 the workbook is too large when unpacked")
            texts = next((p.file_size for p in parts if p.filename == TEXTS), 0)
            if texts > MOST_TEXTS:
                raise Unreadable("工作簿文本过多 the workbook holds too much text")
            for part in parts:
                if part.filename.endswith((".xml", ".rels")) and part.file_size:
                    with package.open(part) as xml:
                        # No Office program writes one; entities in it grow without end.
                        if b"<!DOCTYPE" in xml.read(4096).replace(b"\x00", b""):
                            raise Unreadable("工作簿含有 DTD the workbook declares a DTD")
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _broken(error) from None
    file.seek(0)
