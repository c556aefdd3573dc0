"""The page about a folder holds what it shows, and what was rejected on it comes back as it was."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from ddpm_utils.errors import InputError
from ddpm_utils.restoration.review import Pair, change_map, read_decisions, report_page, restore


@pytest.fixture
def folders(tmp_path):
    """Three photographs and their results, in which a square is 20 levels brighter: one in a subfolder, one of a kind that no browser shows."""
    image = skimage.data.coffee()[100:196, 200:320]
    retouched = image.copy()
    retouched[10:30, 40:60] = image[10:30, 40:60] // 2
    for folder, pixels in (("photos", image), ("out", retouched)):
        (tmp_path / folder / "of a day").mkdir(parents=True)
        for name in ("a.png", "of a day/b #1.png", "c.tiff"):
            Image.fromarray(pixels).save(tmp_path / folder / name)
    return tmp_path


def entries(page):
    return json.loads(re.search(r"const photographs = (\[.*\]);\n", page)[1])


def pairs(root, *names):
    return [Pair(Path(name), root / "photos" / name, root / "out" / name) for name in names]


def test_the_page_names_photographs_by_the_way_to_them_and_carries_what_browsers_do_not_show(folders):
    page = report_page(pairs(folders, "a.png", "of a day/b #1.png", "c.tiff"), folders / "pages" / "report.html")
    first, second, third = entries(page)
    assert first["before"] == "../photos/a.png"
    assert first["after"] == "../out/a.png"
    assert second["after"] == "../out/of%20a%20day/b%20%231.png"
    assert third["name"] == "c.tiff"
    for picture in (third["before"], third["after"]):
        data = base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(data)).size == (120, 96)
    assert first["changed"] == second["changed"] == pytest.approx(20 * 20 / (96 * 120), rel=0.1), "some pixels are black already"


def test_the_page_is_one_file_that_asks_nothing_of_a_network(folders):
    page = report_page(pairs(folders, "a.png"), folders / "report.html")
    assert not re.search(r"(src|href)\s*=\s*[\"']|https?:|\bimport\b.*\bfrom\b|@import", page)
    assert page.count("</script>") == page.count("<script") == 1, "nor does the viewer's comment end the script"


def test_a_name_cannot_end_the_script(folders):
    name = "<script>b.png"
    for folder in ("photos", "out"):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folders / folder / "odd.png")
    pair = Pair(Path("</script>" + name), folders / "photos" / "odd.png", folders / "out" / "odd.png")
    page = report_page([pair], folders / "report.html")
    assert page.count("</script>") == 1
    assert entries(page)[0]["name"] == "</script>" + name


def test_a_map_is_red_and_as_opaque_as_the_change_is_large():
    moved = np.zeros((40, 4000), np.int16)
    moved[:, :1000], moved[:, 1000:2000] = 8, 200
    picture = np.asarray(change_map(moved))
    assert picture.shape[1] == 1024
    assert (picture[..., :3] == (255, 0, 0)).all()
    assert (picture[:, :250, 3] == 127).all()
    assert (picture[:, 260:500, 3] == 255).all()
    assert (picture[:, 520:, 3] == 0).all()


def test_what_was_rejected_comes_back_byte_for_byte_and_the_rest_stays(folders):
    (folders / "decisions.json").write_text('{"rejected": ["of a day/b #1.png"]}')
    kept = (folders / "out" / "a.png").read_bytes()
    restore(read_decisions(folders / "decisions.json"), folders / "photos", folders / "out")
    name = "of a day/b #1.png"
    assert (folders / "out" / name).read_bytes() == (folders / "photos" / name).read_bytes()
    assert (folders / "out" / "a.png").read_bytes() == kept


def test_decisions_about_other_folders_change_nothing(folders):
    before = (folders / "out" / "a.png").read_bytes()
    with pytest.raises(InputError, match=r"holds no photograph 'no\.png'"):
        restore([Path("a.png"), Path("no.png")], folders / "photos", folders / "out")
    assert (folders / "out" / "a.png").read_bytes() == before
    (folders / "out" / "a.png").unlink()
    with pytest.raises(InputError, match=r"holds no result 'a\.png'"):
        restore([Path("a.png")], folders / "photos", folders / "out")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"rejected": 3}', '{"rejected": "a.png"}', '{"rejected": ["../a.png"]}', '{"rejected": ["/a.png"]}']
)
def test_what_is_no_decision_is_refused(tmp_path, text):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(InputError, match="holds no decisions"):
        read_decisions(tmp_path / "d.json")
