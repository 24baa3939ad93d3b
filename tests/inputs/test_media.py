"""Images and sounds of rows: what is sent, what is hashed, and what is never read."""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import zlib

import pytest
from PIL import Image

from batchlab.errors import UsageError
from batchlab.inputs.media import media_type
from batchlab.inputs.plan import plan_input
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import open_source
from batchlab.inputs.templates import RowFault, RowProblem
from batchlab.job.file import job_from
from batchlab.records import ChatRequest, Row

WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(20)
MP3 = b"ID3\x04" + bytes(20)


def png(width: int = 4, height: int = 3, **options) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), **({"color": (9, 90, 200)} | options)).save(out, "PNG")
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(50_000), 9))
    + chunk(b"IEND", b"")
)


def builder(under=None, *, look_only: bool = False, **request) -> RequestBuilder:
    inputs = {"path": "x.parquet"} | ({"allow_files_under": str(under)} if under is not None else {})
    data = {"input": inputs, "request": {"model": "m", "prompt": "{q}", "image": "image"} | request}
    return RequestBuilder(job_from(data), ["q", "image", "sound", "more"], look_only=look_only)


def built(value, under=None, **request) -> ChatRequest:
    return builder(under, **request).build(Row(0, {"q": "What?", "image": value, "sound": None}))


def parts(request: ChatRequest) -> list[dict]:
    return request.body["messages"][-1]["content"]


def urls(request: ChatRequest) -> list[str]:
    return [part["image_url"]["url"] for part in parts(request)[1:]]


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (png(), "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a..", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (WAV, "audio/wav"),
        (MP3, "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", None),  # AAC
        (b"RIFF....AVI ", None),
        (b"<svg", None),
        (b"BM", None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_what_a_file_is(head, kind):
    assert media_type(head) == kind


@pytest.mark.parametrize(
    "value", ["https://x.example/a.png", "http://x.example/a", data_url(b"anything", "image/svg+xml")]
)
def test_a_url_is_passed_on_as_it_is_after_the_text(value):
    assert parts(built(value, image_detail="low")) == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": value, "detail": "low"}},
    ]


@pytest.mark.parametrize("form", [bytes, list, "hugging face", "path", "file url", "json list"])
def test_bytes_and_files_become_data_urls(tmp_path, form):
    image = png()
    (tmp_path / "a b.png").write_bytes(image)
    value = {
        bytes: image,
        list: [image],
        "hugging face": {"bytes": image, "path": "elsewhere.jpg"},
        "path": {"bytes": None, "path": "a b.png"},
        "file url": f"file://{tmp_path}/a%20b.png",
        "json list": '["a b.png"]',
    }[form]

    assert urls(built(value, under=tmp_path)) == [data_url(image)]


def test_several_columns_and_lists_keep_their_order_and_a_prompt_may_be_missing(tmp_path):
    made = builder(image=["image", "more"], audio="sound")
    values = {
        "q": "",
        "image": ["https://x/1", png()],
        "more": "https://x/2",
        "sound": [WAV, data_url(MP3, "audio/mp3")],
    }

    found = parts(made.build(Row(0, values)))

    assert [part["type"] for part in found] == ["image_url"] * 3 + ["input_audio"] * 2
    assert [part["image_url"]["url"] for part in found[:3]] == ["https://x/1", data_url(png()), "https://x/2"]
    assert [part["input_audio"] for part in found[3:]] == [
        {"data": base64.b64encode(WAV).decode(), "format": "wav"},
        {"data": base64.b64encode(MP3).decode(), "format": "mp3"},
    ]


def test_the_hash_is_of_the_pixels_and_an_estimate_counts_no_base64(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "copy.png").write_bytes(png())
    (tmp_path / "other.png").write_bytes(png(color=(1, 2, 3)))

    one, copy, other = (built(f"{name}.png", under=tmp_path) for name in ("a", "copy", "other"))
    large = built(png(400, 400), tokens_per_image=100)

    assert one.request_hash == copy.request_hash == built(png()).request_hash
    assert len({one.request_hash, other.request_hash, built(png(), image_detail="low").request_hash}) == 3
    assert one.prompt_bytes == len("What?") + 4 * 1_500
    assert large.prompt_bytes == len("What?") + 4 * 100


def test_files_that_rows_name_are_not_read_unless_a_directory_is_allowed(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png())
    monkeypatch.chdir(tmp_path)

    with pytest.raises(
        RowProblem, match=r"column 'image': a\.png names a file.*{input.allow_files_under=DIR}"
    ) as caught:
        built("a.png")
    assert not isinstance(caught.value, RowFault)  # the job's fault: it refuses to start
    with pytest.raises(UsageError, match="is no directory"):
        built("a.png", under=tmp_path / "none")


@pytest.fixture
def allowed(tmp_path):
    """A directory with all that a hostile input could point at."""
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png())
    (inside / "good.png").write_bytes(png())
    (inside / "out.png").symlink_to(tmp_path / "secret.png")
    (inside / "away").symlink_to(tmp_path)
    (inside / "in.png").symlink_to("deep/../good.png")
    (inside / "loop.png").symlink_to("loop.png")
    (inside / "text.png").write_text("not an image at all")
    (inside / "empty.png").write_bytes(b"")
    (inside / "sound.png").write_bytes(WAV)
    os.mkfifo(inside / "pipe.png")
    with (inside / "sparse.png").open("wb") as file:
        file.write(png())
        file.truncate(2 * 1024**3)
    return inside


@pytest.mark.parametrize("look_only", [True, False], ids=["plan", "run"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("../secret.png", "is outside of allow_files_under"),
        ("{inside}/../secret.png", "is outside of"),
        ("/etc/passwd", "is outside of"),
        ("file:///etc/passwd", "is outside of"),
        ("out.png", "is outside of"),
        ("away/secret.png", "is outside of"),
        ("loop.png", "cannot be read: Too many levels of symbolic links"),
        ("missing.png", "missing.png: cannot be read: No such file or directory"),
        ("good.png/x", "cannot be read: Not a directory"),
        ("deep", "is no regular file"),
        (".", "is no regular file"),
        ("pipe.png", "is no regular file"),
        ("sparse.png", "is 2,147,483,648 bytes; the most is 20,971,520"),
        ("empty.png", "is empty"),
        ("text.png", "not an image; an image is a PNG, JPEG, GIF or WebP"),
        ("sound.png", "not an image that can be sent"),
        ("a\0b.png", "'a\\x00b.png': is no file name"),
        ("a\ud800.png", "is no file name"),
        ("x" * 300, "cannot be read: File name too long"),
        ("s3://bucket/a.png", "only http(s) and data URLs are passed on"),
        ("data:text/html;base64,AAAA", "is no image"),
        ("data:image/png;base64," + "A" * 28_000_000, "the most is 20,971,520 bytes"),
        ("[1", "is no JSON list"),
        (b"nothing", "the bytes: not an image"),
        (png() + bytes(20_971_520), "the most is 20,971,520"),
        (7, "is neither a URL, a path, bytes, nor a list of those"),
        ({"bytes": None, "path": None}, "is neither"),
        (None, "is null; an empty list, or null_as"),
    ],
    ids=range(28),
)
def test_what_is_wrong_with_an_image_is_its_row_s_fault_in_one_line(allowed, value, problem, look_only):
    value = value.replace("{inside}", str(allowed)) if isinstance(value, str) else value
    made = builder(allowed, look_only=look_only)

    with pytest.raises(RowFault) as caught:
        made.build(Row(0, {"q": "x", "image": value}))

    assert str(caught.value).startswith("column 'image': ")
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_a_link_that_stays_inside_is_followed(allowed):
    assert urls(built("in.png", under=allowed)) == [data_url(png())]


def test_a_row_without_an_image_is_allowed_by_an_empty_list_or_null_as():
    assert built([]).body["messages"][-1]["content"] == "What?"
    data = {
        "input": {"path": "x.csv", "null_as": "-"},
        "request": {"model": "m", "prompt": "{q}", "image": "image"},
    }
    request = RequestBuilder(job_from(data), ["q", "image"]).build(Row(0, {"q": "x", "image": None}))
    assert request.body["messages"][-1]["content"] == "x"


def test_a_truncated_image_is_the_provider_s_to_judge_until_it_has_to_be_scaled_down():
    cut = png(600, 600, color=(1, 2, 3))[:-40]

    assert urls(built(cut)) == [data_url(cut)]
    with pytest.raises(RowFault, match="column 'image': the image: cannot be decoded"):
        built(cut, image_max_side=64)


def test_a_bomb_is_told_by_its_header_and_never_decoded():
    assert len(BOMB) < 300
    assert urls(built(BOMB))  # passed on as it is: nothing is decoded here
    for look_only in (True, False):
        made = builder(image_max_side=1_024, look_only=look_only)
        with pytest.raises(RowFault, match="more than 89,478,485 pixels"):
            made.build(Row(0, {"q": "x", "image": BOMB}))


def test_a_larger_image_is_scaled_down_the_same_way_each_time_and_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = io.BytesIO()
    pixels = Image.linear_gradient("L").resize((400, 200)).convert("RGB")
    pixels.save(photo, "JPEG", exif=exif)

    first, second = (built(photo.getvalue(), image_max_side=100) for _ in range(2))
    sent = base64.b64decode(urls(first)[0].partition("base64,")[2])

    assert first.body == second.body
    assert first.request_hash != built(photo.getvalue(), image_max_side=99).request_hash
    with Image.open(io.BytesIO(sent)) as image:
        assert (image.format, image.size) == ("JPEG", (50, 100))
        assert image.getexif().get(0x0112) is None
    assert urls(built(png(100, 100), image_max_side=100)) == [data_url(png(100, 100))]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixel_can_be_scaled_down(mode):
    out = io.BytesIO()
    Image.new(mode, (90, 60)).save(out, "JPEG" if mode == "CMYK" else "PNG")

    sent = base64.b64decode(urls(built(out.getvalue(), image_max_side=30))[0].partition("base64,")[2])

    with Image.open(io.BytesIO(sent)) as image:
        assert image.size == (30, 20)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("https://x.example/a.wav", "audio is sent as data, and no URL is fetched"),
        (data_url(b"\xff\xf1aac", "audio/aac"), "not audio that can be sent; audio is WAV or MP3"),
        ("data:audio/wav;base64,?", "not audio that can be sent"),
        (png(), "the bytes: not audio that can be sent"),
        (b"OggS", "the bytes: not audio; audio is WAV or MP3"),
    ],
)
def test_what_is_wrong_with_a_sound_is_its_row_s_fault(value, problem):
    made = builder(image=[], audio="sound")
    with pytest.raises(RowFault, match="column 'sound': ") as caught:
        made.build(Row(0, {"q": "x", "sound": value}))
    assert problem in str(caught.value)


def planned(tmp_path, rows: list[dict], **inputs):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = job_from(
        {
            "input": {"path": str(path), "allow_files_under": str(tmp_path)} | inputs,
            "request": {"model": "m", "prompt": "{q}", "image": "image"},
        }
    )
    return plan_input(job, open_source(str(path)))


def test_a_plan_counts_bad_images_like_malformed_lines_and_refuses_when_no_row_is_left(tmp_path):
    (tmp_path / "good.png").write_bytes(png())
    rows = [{"q": "a", "image": "good.png"}, {"q": "b", "image": "gone.png"}]

    mixed, hopeless = planned(tmp_path, rows), planned(tmp_path, rows[1:])

    assert not mixed.problems
    assert mixed.plan.malformed_count == 1
    assert mixed.plan.malformed[0][0] == 2
    assert "gone.png" in mixed.plan.malformed[0][1]
    assert "images and sounds: 1; each is counted as 1,500 prompt tokens" in mixed.notes[0]
    assert "gone.png" in str(hopeless.problems[0])


def test_a_plan_is_another_one_when_a_file_changes_appears_or_is_gone(tmp_path):
    rows = [{"q": "a", "image": "a.png"}, {"q": "b", "image": "b.png"}]
    (tmp_path / "a.png").write_bytes(png())
    hashes = [planned(tmp_path, rows).plan.content_hash for _ in range(2)]
    (tmp_path / "b.png").write_bytes(png())
    hashes.append(planned(tmp_path, rows).plan.content_hash)
    (tmp_path / "b.png").write_bytes(png(5, 5))
    hashes.append(planned(tmp_path, rows).plan.content_hash)

    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_schema_is_part_of_what_is_asked_of_an_image():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    other = {"type": "object", "properties": {"b": {"type": "string"}}}
    one, two = (built(png(), schema=each, schema_mode="prompt") for each in (schema, other))

    assert "JSON" in one.body["messages"][0]["content"]
    assert urls(one) == [data_url(png())]
    assert len({one.request_hash, two.request_hash, built(png()).request_hash}) == 3
