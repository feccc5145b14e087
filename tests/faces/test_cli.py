"""The command line as people and scripts use it, on a folder and on a server."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pydicom
import pytest
import zarr
from typer.main import get_command

from imarium.faces.cli.app import app, run
from imarium.ingest.outcome import Silent
from imarium.testing.dicom_files import make_dataset, make_table, write_file
from imarium.testing.samples import SAMPLES


class Cli:
    """Runs `imarium` as a process of its own."""

    def __init__(self, *options: str, **environ: str) -> None:
        self.options, self.environ = options, environ

    def __call__(self, command: str, *arguments: object, status: int = 0) -> list[dict] | str:
        line = [sys.executable, "-m", "imarium", command, *map(str, arguments), *self.options]
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, env={**os.environ, **self.environ}
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        if "--json" in line:
            return [json.loads(row) for row in done.stdout.splitlines()]
        return done.stdout + done.stderr


@pytest.fixture
def local(tmp_path) -> Cli:
    return Cli("--home", str(tmp_path / "home"))


@pytest.fixture
def remote(live, tmp_path) -> Cli:
    cli = Cli("--server", live.url, XDG_CONFIG_HOME=str(tmp_path / "config"), IMARIUM_PASSWORD=live.password)
    cli("login", "--username", "admin")
    return cli


@pytest.fixture(params=["local", "remote"])
def cli(request) -> Cli:
    return request.getfixturevalue(request.param)


def test_the_main_job(cli, phantom, nifti, tmp_path):
    bad = tmp_path / "bad.dcm"
    bad.write_text("only text")
    lines = cli("ingest", phantom, nifti, bad, "--json", status=1)
    assert all(set(line) == {"path", "status", "series", "reason"} for line in lines)
    assert sorted(line["status"] for line in lines) == ["refused"] + ["taken"] * 14
    (refused,) = [line for line in lines if line["status"] == "refused"]
    assert Path(refused["path"]) == bad
    assert refused["reason"]
    assert {line["status"] for line in cli("ingest", phantom, nifti, "--json")} == {"known"}

    listed = {item["source_format"] + item["dtype"]: item for item in cli("ls", "--json")}
    assert len(listed) == 3
    ct = next(
        item for item in listed.values() if item["modality"] == "CT" and item["source_format"] == "dicom"
    )
    assert ct["shape"] == [12, 96, 96]
    assert ct["levels"] == 3
    assert ct["source_bytes"] > ct["stored_bytes"] > 0
    assert ct["collection"] == "default"

    (shown,) = cli("show", ct["series"], "--json")
    assert shown["series"] == ct["series"]
    assert shown["spacing"][0] > 0

    cli("get", ct["series"], "--level", "1", "--format", "nifti", "-o", tmp_path / "out.nii.gz")
    assert nibabel.load(tmp_path / "out.nii.gz").shape == (48, 48, 12)
    (written,) = cli(
        "get", ct["series"], "--size", "40", "--format", "npy", "-o", tmp_path / "out.npy", "--json"
    )
    assert np.load(written["path"]).shape == (12, 40, 40)
    files = cli("get", ct["series"], "--format", "dicom", "-o", tmp_path / "dicom", "--json")
    assert len(files) == 12
    source = {pydicom.dcmread(file).SOPInstanceUID: file for file in (phantom / "dicom").iterdir()}
    for file in files:
        dataset = pydicom.dcmread(file["path"])
        original = pydicom.dcmread(source[dataset.SOPInstanceUID])
        np.testing.assert_array_equal(dataset.pixel_array, original.pixel_array)
    files = cli(
        "get",
        ct["series"],
        "--format",
        "dicom",
        "--transfer-syntax",
        "htj2k",
        "-o",
        tmp_path / "ht",
        "--json",
    )
    for file in files:
        dataset = pydicom.dcmread(file["path"])
        assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.202"
        original = pydicom.dcmread(source[dataset.SOPInstanceUID])
        np.testing.assert_array_equal(dataset.pixel_array, original.pixel_array)
    (line,) = cli("get", ct["series"], "--format", "ome-zarr", "-o", tmp_path / "x.ome.zarr", "--json")
    group = zarr.open_group(line["path"], mode="r")
    assert [group[str(level)].shape for level in range(3)] == [(12, 96 >> k, 96 >> k) for k in range(3)]
    assert group["0"].dtype == "uint16"
    assert line["bytes"] == sum(
        item.stat().st_size for item in Path(line["path"]).rglob("*") if item.is_file()
    )
    assert "exists" in str(
        cli("get", ct["series"], "--format", "ome-zarr", "-o", tmp_path / "x.ome.zarr", "--json", status=2)
    )
    cli("get", ct["series"], "--format", "png", "-o", tmp_path / "png")
    assert len(list((tmp_path / "png").glob("*.png"))) == 12

    assert {line["ok"] for line in cli("verify", "--json")} == {True}


def test_for_people(cli, phantom, tmp_path):
    text = cli("ingest", phantom)
    assert "taken 13 files (2 series), already known 0, refused 0" in text
    assert "before" in text
    assert "already known 13" in cli("ingest", phantom)
    (tmp_path / "bad.dcm").write_text("text")
    assert "refused 1:" in cli("ingest", tmp_path / "bad.dcm", status=1)
    assert "12x96x96" in cli("ls").replace("\n", "")
    assert "checked 2 series, 0 damaged" in cli("verify")


def test_clear_errors(cli, phantom, tmp_path):
    cli("ingest", phantom)
    series = {item["source_format"]: item["series"] for item in cli("ls", "--json")}
    assert "imarium ls" in cli("show", "1.2.3", status=2)
    assert "levels 0 (full) to 2" in cli(
        "get", series["dicom"], "--level", "7", "-o", tmp_path / "x.nii", status=2
    )
    assert "not for both" in cli(
        "get", series["dicom"], "--level", "1", "--size", "24", "-o", tmp_path / "x.nii", status=2
    ).replace("\n", " ")
    (error,) = cli("get", series["nifti"], "--format", "dicom", "-o", tmp_path / "x", "--json", status=2)
    assert error["error"]["code"] == "export-refused"
    assert "formats are" in cli("get", series["nifti"], "--format", "bmp", status=2)
    assert not list(tmp_path.glob("x*"))


def test_what_must_be_known_of_an_export_is_said(cli, tmp_path):
    for number, height in enumerate((1.0, 2.0, 3.0, 4.0, 9.0), 1):
        pixels = np.full((40, 48), number, np.int16)
        dataset = make_dataset(pixels, number, ImagePositionPatient=[0.0, 0.0, height])
        write_file(tmp_path / "in" / str(number), dataset)
    (uid,) = {line["series"] for line in cli("ingest", tmp_path / "in", "--json")}
    assert "spacing is uneven" in cli("get", uid, "-o", tmp_path / "x.nii")
    assert "uneven" not in cli("get", uid, "--even", "-o", tmp_path / "y.nii")
    assert nibabel.load(tmp_path / "y.nii").shape[2] == 9
    assert nibabel.load(tmp_path / "x.nii").shape[2] == 5


def test_a_nifti_comes_back_byte_for_byte(cli, nifti, tmp_path):
    (line,) = cli("ingest", nifti, "--json")
    cli("get", line["series"], "-o", tmp_path / "back.nii")
    assert (tmp_path / "back.nii").read_bytes() == gzip.decompress(nifti.read_bytes())


def test_a_pair_comes_back_byte_for_byte(local, tmp_path):
    image = nibabel.AnalyzeImage(np.arange(120, dtype=np.int16).reshape(6, 5, 4), None)
    image.to_filename(tmp_path / "old.hdr")
    lines = local("ingest", tmp_path / "old.hdr", tmp_path / "old.img", "--json")
    assert [line["status"] for line in lines[:2]] == ["taken", "taken"]
    uid = lines[0]["series"]
    files = local("get", uid, "-o", tmp_path / "new" / "back.hdr", "--json")
    assert [Path(file["path"]).name for file in files] == ["back.hdr", "back.img"]
    for file in files:
        old = (tmp_path / "old.hdr").with_suffix(Path(file["path"]).suffix)
        assert Path(file["path"]).read_bytes() == old.read_bytes()
    assert "orientation" in local("get", uid, "-o", tmp_path / "one.nii")
    assert "full resolution" in local("get", uid, "--size", "3", "-o", tmp_path / "x.hdr", status=2)


def test_a_server_sends_no_pairs(remote, nifti, tmp_path):
    uid = remote("ingest", nifti, "--json")[0]["series"]
    assert "one file" in remote("get", uid, "-o", tmp_path / "x.hdr", status=2)


def test_verify_reports_damage(local, phantom, tmp_path):
    local("ingest", phantom / "phantom.nii.gz")
    (pack,) = (tmp_path / "home" / "objects").rglob("*.imp")
    data = bytearray(pack.read_bytes())
    data[100] ^= 255
    pack.write_bytes(data)
    assert "1 damaged" in local("verify", status=1)


def test_without_a_login_nothing_changes(live, nifti, tmp_path):
    stranger = Cli("--server", live.url, XDG_CONFIG_HOME=str(tmp_path / "empty"))
    assert "login" in stranger("ingest", nifti, status=2)
    assert live.archive.catalog.series()[1] == 0


def test_the_token_is_private(remote, tmp_path):
    path = tmp_path / "config" / "imarium" / "tokens.json"
    assert path.stat().st_mode & 0o077 == 0


def test_no_server(tmp_path):
    assert "imarium serve" in Cli("--server", "http://127.0.0.1:9")("ls", status=2)


def test_home_from_the_environment(phantom, tmp_path):
    cli = Cli(IMARIUM_HOME=str(tmp_path / "elsewhere"))
    cli("ingest", phantom / "phantom.nii.gz")
    assert (tmp_path / "elsewhere" / "catalog.sqlite").is_file()


def test_every_command_knows_json_and_helps():
    commands = dict(get_command(app).commands)
    for group in (
        "pack",
        "audit",
        "deid",
        "saved",
        "catalog",
        "user",
        "token",
        "role",
        "access",
        "agreement",
    ):
        for name, command in commands.pop(group).commands.items():
            commands[f"{group} {name}"] = command
    assert set(commands) == {
        "ingest", "ls", "show", "get", "download", "export-hf", "label", "manifest", "report", "verify",
        "pack inspect", "deid run", "deid key", "deid reveal", "deid policies", "deid demand",
        "deid quarantine", "deid release", "deid discard",
        "audit list", "audit verify", "audit head", "audit renew", "audit export",
        "search", "saved list", "saved show", "saved set", "saved add", "saved remove", "saved delete",
        "user list", "user add", "user approve", "user disable", "user change", "user password",
        "token create", "token list", "token revoke", "role list", "role grant", "role revoke",
        "access show", "access set", "access request", "access list", "access grant", "access refuse",
        "access withdraw", "agreement set", "agreement show", "agreement accept",
        "catalog rebuild", "samples", "erase", "serve", "login", "reset-password", "version",
    }  # fmt: skip
    for name, command in commands.items():
        assert any("--json" in parameter.opts for parameter in command.params), name
        assert command.help, name


def test_serve_says_address_and_password_once(tmp_path):
    def start():
        return subprocess.Popen(
            [sys.executable, "-m", "imarium", "serve", "--home", tmp_path / "home", "--port", "0", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    passwords = []
    for _ in range(2):
        with start() as server:
            line = json.loads(server.stdout.readline())
            passwords.append(line["password"])
            assert line["url"].startswith("http://127.0.0.1:")
            with urllib.request.urlopen(line["url"] + "/api/v1/status") as answer:
                assert json.load(answer)["series"] == 0
            server.terminate()
            assert server.wait(15) in {0, -15}
    assert passwords[0]
    assert passwords[1] is None


def test_a_taken_port_is_said_clearly(live, tmp_path):
    port = live.url.rsplit(":", 1)[1]
    text = Cli("--home", str(tmp_path / "other"))("serve", "--port", port, status=2)
    assert "choose another with --port" in text


def test_gpl_code_is_never_loaded_by_the_command_line():
    code = (
        "import sys, imarium.faces.cli.app, imarium.faces.http.app\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('libjpeg', 'pylibjpeg')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def said(monkeypatch, capsys):
    """Runs `imarium` in this process, which is quicker: `said("ls", status=2)` is what it wrote."""

    def call(*arguments, status=0):
        monkeypatch.setattr(sys, "argv", ["imarium", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run(None)
        written = capsys.readouterr()
        assert (left.value.code or 0) == status, written
        return written.out + written.err

    return call


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["get"], "'series'"),
        (["ls", "--nope"], "--nope"),
        (["serve", "--port", "abc"], "--port"),
        (["nosuch"], "nosuch"),
    ],
)
def test_errors_of_usage_are_one_line(said, arguments, names):
    (line,) = said(*arguments, status=2).splitlines()
    assert line.startswith("error: ")
    assert names in line
    error = json.loads(said(*arguments, "--json", status=2))["error"]
    assert error["code"] == "invalid-request"
    assert names in error["message"]


def test_help_needs_no_command(said):
    assert "ingest" in said("--help")
    assert "ingest" in said(status=2)


def test_settings_that_cannot_be_used(said, monkeypatch, tmp_path):
    monkeypatch.setenv("IMARIUM_THREADS", "abc")
    assert said("ls", "--home", tmp_path, status=2) == (
        "error: IMARIUM_THREADS is a number of threads, not 'abc'\n"
    )
    monkeypatch.delenv("IMARIUM_THREADS")
    assert "home folder" in said("ls", "--home", "~nosuchuser/x", status=2)


def test_an_option_wins_over_the_environment(said, monkeypatch, tmp_path):
    monkeypatch.setenv("IMARIUM_SERVER", "http://127.0.0.1:9")
    assert "imarium serve" in said("ls", status=2)
    assert "Nothing is stored" in said("ls", "--home", tmp_path)
    assert "exclude" in said("ls", "--home", tmp_path, "--server", "http://127.0.0.1:9", status=2)


@pytest.fixture(params=["local", "remote"])
def place(request, archive, tmp_path, monkeypatch) -> list:
    """Options that name an archive: its home folder, or its server. The working folder is empty."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    if request.param == "local":
        return ["--home", archive.settings.home]
    live = request.getfixturevalue("live")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("IMARIUM_TOKEN", archive.accounts.login("admin", live.password).token)
    return ["--server", live.url]


def test_where_exports_go(said, place, archive, phantom, tmp_path):
    many = next(iter(archive.ingest.run([phantom / "dicom"], collection="c"))).series
    one_slice = sorted((phantom / "dicom").iterdir())[0]
    with pydicom.dcmread(one_slice) as dataset:
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.3", "1.2.3.4"
        dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        dataset.save_as(tmp_path / "one.dcm")
    one = next(iter(archive.ingest.run([tmp_path / "one.dcm"], collection="c"))).series

    def files():
        work = Path.cwd()
        found = {str(file.relative_to(work)) for file in work.rglob("*") if file.is_file()}
        shutil.rmtree(work)
        work.mkdir()
        os.chdir(work)
        return found

    def get(series, name, *options, status=0):
        return said("get", series, "--format", name, *options, *place, status=status)

    for name, only in (("nifti", "series.nii.gz"), ("npy", "series.npy")):
        for series in (one, many):
            get(series, name)
            assert files() == {only}
    for name, suffix in (("png", "png"), ("dicom", "dcm")):
        get(one, name)
        assert files() == {f"series.{suffix}"}
        for output in ("new", "new/", "old"):
            Path("old").mkdir()
            get(many, name, "-o", output)
            folder = output.strip("/")
            assert files() == {f"{folder}/{number:05}.{suffix}" for number in range(1, 13)}
        text = get(many, name)
        assert f"12 files in series-{name}" in text
        assert len([file for file in files() if file.startswith(f"series-{name}/")]) == 12
        assert "need a folder" in get(many, name, "-o", f"x.{suffix}", status=2)
        assert files() == set()
    for output in ("new/", "old"):
        Path("old").mkdir()
        get(many, "npy", "-o", output)
        assert files() == {output.strip("/") + "/series.npy"}
    Path("old").mkdir()
    get(one, "dicom", "-o", "old")
    assert files() == {"old/series.dcm"}
    for name, wrong, ends in (("nifti", "x.gz", ".nii, .nii.gz or .hdr"), ("npy", "deep/er/x", ".npy")):
        assert f"is named {ends}, not {wrong.rsplit('/', 1)[-1]!r}" in get(many, name, "-o", wrong, status=2)
        assert list(Path.cwd().iterdir()) == []
    assert "levels 0" in get(many, "npy", "-o", "deep/er/x.npy", "--level", "9", status=2)
    assert list(Path.cwd().iterdir()) == []


def test_a_collection_that_is_not_there(said, place, archive):
    assert "there is no collection 'nosuch'" in said("ls", "--collection", "nosuch", *place, status=2)
    archive.catalog.ensure_collection("empty")
    assert said("ls", "--collection", "empty", "--json", *place) == ""


def test_names_cannot_write_to_the_terminal(said, place):
    text = said("ingest", "bad\x1b[31m\nname\udcff", *place, status=1)
    assert r"refused bad\x1b[31m\nname\udcff: the file does not exist" in text
    assert "\x1b" not in text


def test_a_file_that_disappears_before_its_turn(said, place, nifti, monkeypatch):
    shutil.copy(nifti, "a.nii.gz")
    shutil.copy(nifti, "lost")
    monkeypatch.setattr(Silent, "found", lambda *_: Path("lost").unlink(missing_ok=True))
    lines = [json.loads(line) for line in said("ingest", ".", "--json", *place, status=1).splitlines()]
    assert {line["path"]: line["status"] for line in lines} == {"a.nii.gz": "taken", "lost": "refused"}


def test_serve_beyond_this_machine_says_so(tmp_path):
    options = ["--host", "0.0.0.0", "--port", "0", "--name", "images.example"]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "imarium", "serve", "--home", tmp_path / "home", *options],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as server:  # fmt: skip
        port = server.stdout.readline().split()[2].rsplit(":", 1)[1]
        assert "needs a login" in server.stdout.readline()
        address = f"http://127.0.0.1:{port}/api/v1"
        for name, path, status in (
            ("images.example", "/status", 200),
            ("images.example", "/series", 401),
            ("evil.example", "/status", 400),
        ):
            assert httpx.get(address + path, headers={"Host": name}).status_code == status
        server.terminate()


def test_looking_into_a_pack_file(local, phantom, tmp_path):
    local("ingest", phantom, "--json")
    (pack,) = (tmp_path / "home" / "objects").rglob("*.imp")
    free = Cli()  # no archive is needed
    head, *series = free("pack", "inspect", pack, "--json", "--verify")
    assert set(head) == {"pack", "version", "bytes", "digest", "digest_ok", "count"}
    assert (head["version"], head["digest_ok"], head["count"]) == ("2.0", True, 2)
    assert {one["format"]: one["shape"] for one in series} == {"dicom": [12, 96, 96], "nifti": [12, 96, 96]}
    assert all(one["error"] is None for one in series)
    (dicom,) = [one for one in series if one["format"] == "dicom"]
    assert dicom["levels"][0]["bytes"] == dicom["body_bytes"]
    assert dicom["lanes"][0]["frames"] == 12
    text = free("pack", "inspect", pack, "--verify")
    assert "as its name says" in text
    assert text.count("every frame decodes to its digest") == 2
    data = bytearray(pack.read_bytes())
    data[40] ^= 1
    pack.write_bytes(data)
    head, *series = free("pack", "inspect", pack, "--json", "--verify", status=1)
    assert head["digest_ok"] is False
    assert sum(one["error"] is not None for one in series) == 1
    assert "damaged" in free("pack", "inspect", pack, "--verify", status=1)
    (error,) = free("pack", "inspect", phantom / "phantom.nii.gz", "--json", status=2)
    assert "not a pack" in error["error"]["message"]


def test_files_that_belong_together(said, place, tmp_path):
    """A pair and a disc, given as folders, by their headers alone, and all at once."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    list(SAMPLES["nifti"].small(tmp_path / "a"))
    list(SAMPLES["metaimage"].small(tmp_path / "b"))
    disc = tmp_path / "disc"
    for number in (1, 2, 3):
        dataset = make_dataset(np.full((40, 48), number, np.int16), number)
        write_file(disc / "IMAGES" / f"IM{number}", dataset)
    write_file(disc / "DICOMDIR", make_table(("IMAGES", f"IM{number}") for number in (1, 2, 3)))

    def ingest(*paths, collection, status=0):
        lines = said("ingest", *paths, "--collection", collection, "--json", *place, status=status)
        outcomes = [json.loads(line) for line in lines.splitlines()]
        return {
            Path(outcome["path"]).relative_to(tmp_path).as_posix(): outcome["status"] for outcome in outcomes
        }

    alone = ingest(
        tmp_path / "a" / "pair" / "pair.hdr",
        tmp_path / "b" / "numbered" / "numbered.mhd",
        disc / "DICOMDIR",
        collection="alone",
    )
    taken = ["a/pair/pair.hdr", "a/pair/pair.img", "b/numbered/numbered.mhd"]
    taken += [f"b/numbered/slice{number:03d}.raw" for number in (1, 2, 3)]
    taken += [f"disc/IMAGES/IM{number}" for number in (1, 2, 3)]
    assert alone == {"disc/DICOMDIR": "known"} | dict.fromkeys(taken, "taken")
    together = ingest(*(tmp_path / name for name in ("disc", "b", "a")), collection="together")
    assert "refused" not in together.values()
    assert {name: together[name] for name in alone} == dict.fromkeys(alone, "known")
    # Data that lie in another folder that was given too are not taken for a header's own.
    (tmp_path / "b" / "detached" / "volume.raw").rename(tmp_path / "a" / "volume.raw")
    torn = ingest(tmp_path / "b" / "detached", tmp_path / "a" / "volume.raw", collection="torn", status=1)
    assert torn == {"b/detached/volume.mhd": "refused", "a/volume.raw": "refused"}
