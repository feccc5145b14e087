"""Manifests: rows to tables and back, the digest, files that anyone reads, files that are refused."""

import json
import struct
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from imarium.errors import (
    ImariumError,
    IntegrityError,
    InvalidRequestError,
    LevelError,
    NotFoundError,
    StorageError,
)
from imarium.manifest import Draft, Format, Manifest, ManifestLevel, ManifestRow
from imarium.manifest.digest import ContentDigest
from imarium.manifest.rows import batch_of, rows_of
from imarium.manifest.schema import SCHEMA
from imarium.model import Selection

AFFINE = ((0.5, 0.0, 0.0, -3.0), (0.0, 0.5, 0.0, 7.25), (0.0, 0.0, 2.0, 0.1), (0.0, 0.0, 0.0, 1.0))
ROW = ManifestRow(
    series="1.2.3",
    study="1.2",
    subject="S-1",
    collection="chest",
    modality="CT",
    body_part=None,
    format="dicom",
    frames=300,
    rows=512,
    columns=500,
    samples=1,
    dtype="int16",
    photometric="MONOCHROME2",
    dimensions=(2, 150),
    spacing=(2.0, 0.5, 0.5),
    affine=AFFINE,
    window_center=40.0,
    window_width=400.0,
    rescale_slope=1.0,
    rescale_intercept=-1024.0,
    label_map=False,
    labels={"class": "covid", "split": "train"},
    pack="packs/aa/aabb.imp",
    pack_bytes=1 << 40,
    pack_digest="ab" * 32,
    url=None,
    index=(1 << 33, (1 << 33) + 900),
    levels=(
        ManifestLevel(0, 512, 500, 300, ((16, 216), (300, 400))),
        ManifestLevel(1, 256, 250, 50, ((16, 66),)),
    ),
)
PICTURE = replace(
    ROW,
    series="1.2.4",
    subject=None,
    modality=None,
    spacing=None,
    affine=None,
    window_center=None,
    window_width=None,
    rescale_slope=None,
    rescale_intercept=None,
    labels={},
    dimensions=(1,),
    frames=1,
    index=(5, 6),
    levels=(ManifestLevel(0, 512, 500, 0, ()),),
)
CHOSEN = Selection("chest", labels={"class": "covid"})
CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SPAN = st.tuples(st.integers(0, 2**62), st.integers(0, 2**62))
SMALL = st.integers(0, 2**31 - 1)
NUMBER = st.floats(allow_nan=False)
ROWS = st.builds(
    ManifestRow,
    **dict.fromkeys(["series", "study", "collection", "format", "dtype", "photometric", "pack_digest"], TEXT),
    **{name: st.none() | TEXT for name in ["subject", "modality", "body_part", "url"]},
    **dict.fromkeys(["frames", "rows", "columns", "samples"], SMALL),
    **{
        name: st.none() | NUMBER
        for name in ["window_center", "window_width", "rescale_slope", "rescale_intercept"]
    },
    dimensions=st.lists(SMALL, max_size=3).map(tuple),
    spacing=st.none() | st.tuples(NUMBER, NUMBER, NUMBER),
    affine=st.none() | st.tuples(*[st.tuples(*[NUMBER] * 4)] * 4),
    label_map=st.booleans(),
    labels=st.dictionaries(TEXT, TEXT, max_size=3).map(lambda labels: dict(sorted(labels.items()))),
    pack=st.just("packs/a.imp"),
    pack_bytes=st.integers(0, 2**62),
    index=SPAN,
    levels=st.lists(
        st.builds(
            ManifestLevel,
            st.integers(0, 20),
            SMALL,
            SMALL,
            st.integers(0, 2**62),
            st.lists(SPAN, max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
)


@pytest.fixture
def manifest() -> Manifest:
    return Manifest.of([ROW, PICTURE], CHOSEN, CREATED)


def plainly(rows: list[ManifestRow]) -> str:
    """The digest as docs/design/manifest.md says it, value by value and without Arrow."""
    streams: dict[str, bytearray] = {}

    def put(name: str, data: bytes) -> None:
        streams.setdefault(name, bytearray()).extend(data)

    def text(name: str, values: list) -> None:
        put(f"{name}#", b"".join(struct.pack("<I", len((value or "").encode())) for value in values))
        put(name, "".join(value or "" for value in values).encode())

    def numbers(name: str, kind: str, values: list) -> None:
        put(name, b"".join(struct.pack(kind, value or 0) for value in values))

    def there(name: str, values: list) -> None:
        put(f"{name}?", bytes(value is not None for value in values))

    def lengths(name: str, values: list) -> list:
        put(f"{name}#", b"".join(struct.pack("<I", len(value or ())) for value in values))
        return [item for value in values if value is not None for item in value]

    def spans(name: str, values: list) -> None:
        numbers(f"{name}.start", "<q", [start for start, _ in values])
        numbers(f"{name}.stop", "<q", [stop for _, stop in values])

    def column(name: str) -> list:
        return [getattr(row, name) for row in rows]

    for name in SCHEMA.names:
        values = column(name)
        match name:
            case "url":
                continue
            case "subject" | "modality" | "body_part":
                there(name, values)
                text(name, values)
            case "frames" | "rows" | "columns" | "samples" | "pack_bytes":
                numbers(name, "<q", values)
            case "dimensions":
                numbers("dimensions.element", "<q", lengths(name, values))
            case "spacing" | "affine":
                there(name, values)
                if name == "affine":
                    values = [None if v is None else [item for line in v for item in line] for v in values]
                numbers(f"{name}.element", "<d", lengths(name, values))
            case "window_center" | "window_width" | "rescale_slope" | "rescale_intercept":
                there(name, values)
                numbers(name, "<d", values)
            case "label_map":
                numbers(name, "<B", values)
            case "labels":
                pairs = lengths(name, [sorted(labels.items()) for labels in values])
                text("labels.element.key", [key for key, _ in pairs])
                text("labels.element.value", [value for _, value in pairs])
            case "index":
                spans(name, values)
            case "levels":
                flat = lengths(name, values)
                for part in ("level", "rows", "columns", "bytes"):
                    numbers(f"levels.element.{part}", "<q", [getattr(level, part) for level in flat])
                inner = lengths("levels.element.spans", [level.spans for level in flat])
                spans("levels.element.spans.element", inner)
            case _:
                text(name, values)
    whole = b"imarium.manifest" + struct.pack("<IQ", 1, len(rows))
    for name, data in streams.items():
        whole += name.encode() + b"\0" + blake3(bytes(data)).digest()
    return blake3(whole).hexdigest()


@given(st.lists(ROWS, max_size=4), st.integers(0, 4))
def test_rows_come_back_and_the_digest_is_what_the_specification_says(rows, cut):
    batch = batch_of(rows)
    batch.validate(full=True)
    assert list(rows_of(batch)) == rows
    whole, parts = ContentDigest(), ContentDigest()
    whole.update(batch)
    for part in (batch.slice(0, cut), batch.slice(cut)):
        parts.update(part)
    assert whole.hexdigest() == parts.hexdigest() == plainly(rows)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("rows", [[], [ROW, PICTURE]], ids=["empty", "two"])
def test_files_come_back(tmp_path, suffix, rows):
    manifest = Manifest.of(rows, CHOSEN, CREATED)
    path = tmp_path / f"m.{suffix}"
    manifest.write(path)
    assert list(tmp_path.iterdir()) == [path]
    again = Manifest.read(path)
    assert again == manifest == Manifest.read(str(path)) == Manifest.read(path.read_bytes())
    assert list(again.rows()) == rows
    assert (len(again), again.selection, again.created) == (len(rows), CHOSEN, CREATED)


def test_both_formats_have_one_digest_and_a_draft_has_it_too(tmp_path, manifest):
    with Draft(tmp_path, CHOSEN) as draft:
        draft.add([ROW])
        draft.add([PICTURE])
        assert (draft.series, draft.digest) == (2, manifest.digest)
        for kind in Format:
            draft_path = tmp_path / f"m.{kind}"
        draft.write(draft_path, Format.of(draft_path))
    read = Manifest.read(draft_path)
    assert read == manifest
    assert read.table.schema.metadata[b"imarium.digest"].decode() == manifest.digest


def test_many_rows_pass_through_a_draft(tmp_path):
    rows = [replace(ROW, series=str(number), index=(number, number + 1)) for number in range(9000)]
    with Draft(tmp_path, Selection()) as draft:
        for first in range(0, 9000, 500):
            draft.add(rows[first : first + 500])
        draft.write(tmp_path / "m.parquet", Format.PARQUET)
    assert pq.ParquetFile(tmp_path / "m.parquet").num_row_groups == 2
    read = Manifest.read(tmp_path / "m.parquet")
    assert list(read.rows()) == rows
    assert read.digest == Manifest.of(rows, Selection()).digest


PLAIN = """
import json, sys
import pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
row = table.to_pylist()[0]
assert "imarium" not in sys.modules
told = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
print(json.dumps([row["series"], dict(row["labels"]), row["levels"][1], row["index"], row["affine"], told]))
"""


def test_anyone_can_read_it_without_our_code(tmp_path, manifest):
    manifest.write(tmp_path / "m.parquet")
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, tmp_path / "m.parquet"], capture_output=True, text=True, check=True
    )
    series, labels, level, index, affine, told = json.loads(done.stdout)
    assert (series, labels) == (ROW.series, ROW.labels)
    assert level == {
        "level": 1,
        "rows": 256,
        "columns": 250,
        "bytes": 50,
        "spans": [{"start": 16, "stop": 66}],
    }
    assert index == {"start": 1 << 33, "stop": (1 << 33) + 900}
    assert affine == [item for line in AFFINE for item in line]
    assert told["imarium.manifest"] == "1"
    assert told["imarium.created"] == "2026-03-04T05:06:07+00:00"
    assert json.loads(told["imarium.selection"]) == CHOSEN.to_json()
    assert told["imarium.digest"] == manifest.digest


def test_a_table_that_passed_through_other_hands(manifest):
    """Others write columns in another order, more of them, all of them nullable, strings as large ones."""
    table = manifest.table
    columns = {name: table[name] for name in reversed(table.column_names)}
    columns["series"] = columns["series"].cast(pa.large_string())
    other = pa.table(columns | {"mine": [1, 2]}).replace_schema_metadata(table.schema.metadata)
    assert Manifest(other) == manifest
    assert Manifest(other).table.column_names == SCHEMA.names


def test_a_part_of_a_manifest(tmp_path, manifest):
    part = manifest.filter(lambda row: row.labels.get("split") == "train")
    assert list(part.rows()) == [ROW]
    assert part.digest != manifest.digest
    assert (part.selection, part.created) == (CHOSEN, CREATED)
    part.write(tmp_path / "part.arrow")
    assert Manifest.read(tmp_path / "part.arrow") == part
    assert len(manifest.filter(lambda row: False)) == 0
    assert {part, manifest, Manifest.of([ROW], CHOSEN)} == {part, manifest}


def test_signed_addresses_are_no_part_of_the_content(manifest):
    signed = Manifest.of([replace(ROW, url="https://example.org/x"), PICTURE], CHOSEN)
    assert signed == manifest
    assert next(signed.rows()).url == "https://example.org/x"


def test_levels_of_a_row():
    assert ROW.level(1).rows == 256
    for number in (-1, 2):
        with pytest.raises(LevelError):
            ROW.level(number)


def described(of: Manifest, **changes: bytes | None) -> pa.Table:
    told = dict(of.table.schema.metadata)
    for name, value in changes.items():
        key = f"imarium.{name}".encode()
        told[key] = value
        if value is None:
            del told[key]
    return of.table.replace_schema_metadata(told)


def written(path, table: pa.Table):
    pq.write_table(table, path)
    return path


def test_a_newer_version_says_so(tmp_path, manifest):
    path = written(tmp_path / "m.parquet", described(manifest, manifest=b"2"))
    with pytest.raises(ImariumError, match="version 2"):
        Manifest.read(path)


@pytest.mark.parametrize("version", [None, b"", b"-1", b"x", b"9" * 5000])
def test_tables_that_are_no_manifests(tmp_path, manifest, version):
    with pytest.raises(IntegrityError):
        Manifest.read(written(tmp_path / "m.parquet", described(manifest, manifest=version)))
    with pytest.raises(IntegrityError):
        Manifest(pa.table({"a": [1]}))


def test_what_was_changed_is_noticed(tmp_path, manifest):
    for table in (
        described(manifest, digest=b"0" * 64),
        described(manifest, digest=None),
        manifest.table.slice(1),
        manifest.table.take([1, 0]),
    ):
        with pytest.raises(IntegrityError):
            Manifest.read(written(tmp_path / "m.parquet", table))


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("pack", ["packs/../secret", "packs/a"], None),
        ("pack", ["/etc/passwd", "packs/a"], None),
        ("pack", ["packs/a\n", "packs/a"], None),
        ("pack", ["", "packs/a"], None),
        ("series", [None, "1"], None),
        ("affine", [[1.0] * 15, None], None),
        ("spacing", [[1.0, 2.0], None], None),
        ("dimensions", [[1, None], [1]], None),
        ("frames", [1 << 40, 1], pa.int64()),
        ("frames", ["many", "few"], None),
        ("index", [{"start": 1, "stop": None}, {"start": 1, "stop": 2}], None),
        ("labels", [[("a", None)], []], pa.map_(pa.string(), pa.string())),
    ],
)
def test_columns_that_break_the_schema(manifest, name, values, kind):
    table = manifest.table
    place = table.column_names.index(name)
    broken = table.set_column(place, name, pa.array(values, kind))
    with pytest.raises(IntegrityError):
        Manifest(broken)
    with pytest.raises(IntegrityError):
        Manifest(table.drop_columns([name]))


def test_damaged_files(tmp_path, manifest):
    for suffix in ("parquet", "arrow"):
        path = tmp_path / f"m.{suffix}"
        manifest.write(path)
        whole = path.read_bytes()
        for content in (b"", b"PAR1", whole[: len(whole) // 2], whole[8:], whole[::-1]):
            with pytest.raises(IntegrityError):
                Manifest.read(content)
        for place in range(0, len(whole), 97):
            damaged = bytearray(whole)
            damaged[place] ^= 0x55
            try:
                read = Manifest.read(bytes(damaged))
            except ImariumError:
                continue
            assert read == manifest  # what was hit says nothing of the content


@pytest.mark.parametrize("told", [{"selection": b"{"}, {"selection": None}, {"created": b"today"}])
def test_metadata_that_make_no_sense(manifest, told):
    broken = Manifest(described(manifest, **told))
    with pytest.raises(IntegrityError):
        _ = broken.selection, broken.created


def test_files_that_cannot_be_read_or_written(tmp_path, manifest):
    with pytest.raises(NotFoundError):
        Manifest.read(tmp_path / "none.parquet")
    with pytest.raises(StorageError):
        Manifest.read(tmp_path)
    with pytest.raises(StorageError):
        manifest.write(tmp_path / "none" / "m.parquet")
    with pytest.raises(InvalidRequestError, match="parquet"):
        manifest.write(tmp_path / "m.csv")
    assert list(tmp_path.iterdir()) == []
