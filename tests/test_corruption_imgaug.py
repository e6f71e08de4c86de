"""Any augmenter of imgaug, and the training mixture that is built on the registry."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.core.storage import to_frames
from robustvideo.benchmark.core.trained import Learner
from robustvideo.benchmark.models import zoo
from robustvideo.benchmark.models.build import build_model, state_sha256
from robustvideo.benchmark.training import entries
from robustvideo.benchmark.training.clips import Split
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.benchmark.training.loop import Plan
from robustvideo.benchmark.training.loop import run as fit
from robustvideo.corruptions import rose

RAIN, FOG = "imgaug:Rain", "imgaug:imgcorruptlike.Fog"


def made(text):
    return resolve("corruption", text).create()


def streams(count, first=0, seed=0):
    return ClipRandom.for_clips([f"clip{number}" for number in range(first, first + count)], seed, "test")


@pytest.fixture(scope="module")
def picture():
    """A natural picture, uint8 (48, 64, 3)."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[40:424:8, :512:8])


@pytest.fixture(scope="module")
def still(picture):
    """Two clips (2, 3, 4, 48, 64) of frames that are all alike."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None, :, None].expand(2, 3, 4, 48, 64).contiguous()


# imgaug


@pytest.mark.parametrize("text", [RAIN, FOG, "imgaug:imgcorruptlike.GaussianNoise", "imgaug:Rotate"])
def test_draws_are_a_frames_own_or_a_clips(text, still):
    iid, static = (made(f"{text},temporal={mode}").apply(still, 3, streams(2)) for mode in ("iid", "static"))
    for row in range(2):
        assert not torch.equal(iid[row, :, 0], iid[row, :, 1]) and not torch.equal(iid[row, :, 1], iid[row, :, 2])
        assert all(torch.equal(static[row, :, 0], static[row, :, frame]) for frame in range(1, 4))
    assert not torch.equal(static[0], static[1]), "clips share draws"


@pytest.mark.parametrize("text", [RAIN, FOG, f"{RAIN},temporal=static", "imgaug:RandAugment", "imgaug:Cartoon"])
def test_only_the_clips_stream_decides(text, still):
    before = still.clone()
    together = made(text).apply(still, 2, streams(2))
    np.random.rand(5)
    made(RAIN).apply(still, 1, streams(2, seed=9))  # moves the library's own global state
    alone = torch.cat([made(text).apply(still[row : row + 1], 2, streams(1, row)) for row in range(2)])
    assert torch.equal(together, alone) and torch.equal(still, before)
    assert not torch.equal(together, made(text).apply(still, 2, streams(2, seed=1)))
    np.random.seed(3)
    made(text).apply(still, 2, streams(2))
    assert np.random.rand() == np.random.RandomState(3).rand()


def test_it_is_the_librarys_augmenter(still, picture):
    import imgaug.augmenters as iaa

    mirrored = made("imgaug:Fliplr").apply(still, 1, streams(2))
    assert torch.equal(mirrored, still.flip(-1))
    for severity in (1, 5):
        theirs = iaa.imgcorruptlike.Contrast(severity=severity)(image=picture)
        ours = made("imgaug:imgcorruptlike.Contrast").apply(still, severity, streams(2))
        assert np.array_equal(to_frames(ours[1])[2], theirs)


def test_severity_is_for_those_that_have_one(still):
    graded, plain = made(FOG), made(RAIN)
    assert graded.broken == {} and plain.broken == {plain.table: "no-severity"}
    assert torch.equal(plain.apply(still, 1, streams(2)), plain.apply(still, 5, streams(2)))
    assert not torch.equal(graded.apply(still, 1, streams(2)), graded.apply(still, 5, streams(2)))
    with pytest.raises(InputError, match="severity"):
        plain.apply(still, 6, streams(2))
    with pytest.raises(InputError, match="it needs 32 or more"):
        graded.apply(still[..., :31], 1, streams(2))
    assert plain.apply(still[..., :31], 1, streams(2)).shape == (2, 3, 4, 48, 31)


@pytest.mark.parametrize("name", ["CropToSquare", "PadToSquare", "Jigsaw", "Rot90", "MaxPooling"])
def test_frames_keep_their_size(name, still):
    for mode in ("iid", "static"):
        changed = made(f"imgaug:{name},temporal={mode}").apply(still, 1, streams(2))
        assert changed.shape == still.shape and changed.dtype == torch.uint8 and changed.is_contiguous()
        assert not torch.equal(changed, still)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Rian", "no augmenter 'Rian'; did you mean Rain"),
        ("imgcorruptlike.Fgo", "did you mean imgcorruptlike.Fog"),
        ("Augmenter", "no augmenter 'Augmenter'"),
        ("CropToFixedSize", "CropToFixedSize needs the argument width, height"),
        ("BlendAlpha", "imgaug cannot make BlendAlpha by its defaults"),
    ],
)
def test_what_cannot_be_made_is_said_before_a_clip_is_read(name, says):
    with pytest.raises(InputError, match=says):
        made(f"imgaug:{name}")


def test_a_name_is_needed():
    with pytest.raises(InputError, match="name is missing; write imgaug:<name>"):
        resolve("corruption", "imgaug")


# The mixture of ROSE 2022's winner


TWENTY = 20


@pytest.fixture
def seen(monkeypatch):
    """Which of the twenty each frame drew, in place of what it does: a frame becomes its number, plus 100."""

    def fake(frames, number, severity, rng, rate):
        assert severity == 2 and len(rng) == len(frames)
        return torch.full_like(frames, 100 + number)

    monkeypatch.setattr(rose, "_corrupt", fake)
    monkeypatch.setattr(rose.RoseMixture, "check", lambda self, frames, side: None)


def numbers(clips):
    """Per clip and frame the number that was drawn, -1 for none."""
    return clips[:, 0, :, 0, 0].long() - 100


def test_half_of_the_frames_get_one_of_twenty_alike(seen):
    clips = torch.full((400, 3, 16, 1, 1), 99, dtype=torch.uint8)
    drawn = numbers(made("rose_mixture").apply(clips, 2, streams(400)))
    hit = drawn >= 0
    count = int(hit.sum())
    assert abs(count / hit.numel() - 0.5) < 3 * 0.5 / math.sqrt(hit.numel())
    tally = torch.bincount(drawn[hit], minlength=TWENTY)
    assert len(tally) == TWENTY == len(rose.NATIVE) + len(rose.GEOMETRIC)
    chi = float(((tally - count / TWENTY) ** 2 / (count / TWENTY)).sum())
    assert chi < 43.8  # 19 degrees of freedom, p = .001
    assert int((drawn[:, 1:] == drawn[:, :-1])[hit[:, 1:] & hit[:, :-1]].sum()) < 0.1 * count, "frames draw by themselves"
    share = {
        rate: (numbers(made(f"rose_mixture:rate={rate}").apply(clips, 2, streams(400))) >= 0).float().mean() for rate in (0, 1)
    }
    assert share == {0: 0.0, 1: 1.0}


def test_frames_that_draw_nothing_stay_and_the_others_change(still):
    clips = still[:, :, :1].expand(2, 3, 40, 48, 64).contiguous()
    changed = made("rose_mixture").apply(clips, 2, streams(2))
    same = (changed == clips).all(dim=-1).all(dim=-1).all(dim=1)
    assert 0.3 < float(same.float().mean()) < 0.7
    assert changed.dtype == torch.uint8 and changed.shape == clips.shape


def test_the_mixture_depends_on_the_clips_stream_alone(still):
    mixture = made("rose_mixture:rate=1")
    clips = torch.cat([still, still.flip(-1)]).repeat(1, 1, 3, 1, 1)
    before = clips.clone()
    together = mixture.apply(clips, 2, streams(4))
    state = torch.random.get_rng_state()
    alone = torch.cat([mixture.apply(clips[row : row + 1], 2, streams(1, row)) for row in range(4)])
    assert torch.equal(together, alone) and torch.equal(clips, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(together, mixture.apply(clips, 2, streams(4, seed=1)))


@pytest.mark.parametrize("number", range(14))
def test_fourteen_are_the_corruptions_of_the_package(number, still):
    frames = still[0].movedim(1, 0)
    changed = rose._corrupt(frames, number, 2, streams(4), 25.0)
    alone = made(rose.NATIVE[number]).apply(frames.unsqueeze(2), 2, streams(4)).squeeze(2)
    assert torch.equal(changed, alone) and not torch.equal(changed, frames)


def test_geometric_ones_are_imgaugs(picture):
    import imgaug.augmenters as iaa

    assert np.array_equal(rose._mirror(picture), iaa.Fliplr()(image=picture))
    assert np.array_equal(rose._rot90(picture), iaa.Rot90(keep_size=False)(image=picture))
    for angle in (-25, 10):
        draw = (angle / rose.DEGREES + 1) / 2
        turned = iaa.Rotate(angle, backend="cv2")(image=picture)
        assert np.abs(rose._rotate(picture, draw).astype(int) - turned).max() <= 1
        same_slope = math.degrees(math.atanh(math.tan(math.radians(angle))))  # see the comment in _shear
        sheared = iaa.ShearX(same_slope, backend="cv2")(image=picture)
        assert np.abs(rose._shear(picture, draw).astype(int) - sheared).max() <= 1


def test_crops_are_cut_from_the_frame():
    frame = np.arange(64 * 96, dtype=np.int32).reshape(64, 96, 1)
    draws = np.random.default_rng(0).random((300, 4))
    corners, areas, ratios = set(), [], []
    for four in draws:
        crop = rose._fixed_crop(frame, *four)
        assert crop.shape == (56, 84, 1) and (np.diff(crop[:, 0, 0]) == 96).all()
        corners.add(int(crop[0, 0, 0]))
        crop = rose._resized_crop(frame, *four)
        areas.append(crop.shape[0] * crop.shape[1] / frame.size)
        ratios.append(crop.shape[1] / crop.shape[0])
        assert (np.diff(crop[0, :, 0]) == 1).all()
    assert {corner // 96 for corner in corners} == set(range(9)) and {corner % 96 for corner in corners} == set(range(13))
    assert 0.07 < min(areas) < 0.12 and 0.9 < max(areas) <= 1 and 0.45 < np.mean(areas) < 0.6
    assert min(ratios) > 0.7 and max(ratios) <= 1.5


def test_frames_too_small_for_one_are_refused_before_it_is_drawn(still):
    mixture = made("rose_mixture:rate=0")
    least = max(made(name).smallest for name in rose.NATIVE)
    assert mixture.apply(still[..., :least, :least], 2, streams(2)).shape[-1] == least
    if least > 1:
        with pytest.raises(InputError, match=f"it needs {least} or more"):
            mixture.apply(still[..., : least - 1, : least - 1], 2, streams(2))


# Training on corrupted clips


PLAIN = Recipe(epochs=2, batch_size=4, lr=3e-3)
MIXED = replace(PLAIN, corruption="rose_mixture:rate=1")


def trained(recipe, still, ids=()):
    """Hash of the weights after a short training on eight clips, the clips of every step, and the clean ones."""
    clips = still[:1, :, :2, :32, :32] // torch.arange(1, 9, dtype=torch.uint8).view(-1, 1, 1, 1, 1)
    steps = []

    class Watching(Learner):
        def loss(self, batch, labels, rng):
            steps.append((batch * 255).round().to(torch.uint8))
            return super().loss(batch, labels, rng)

    model = build_model(resolve("model", "tsm:frames=2,size=32,weights=random"), "none", "ab")
    labels = torch.arange(8) % 2
    fit(Plan(Watching(model), Split(clips, labels, ids), Split(clips, labels), recipe))
    return state_sha256(model), torch.cat(steps), clips


def missing(clips, among):
    """How many clips are not in a batch."""
    return sum(not any(torch.equal(clip, one) for one in among) for clip in clips)


def test_a_recipe_trains_on_corrupted_clips(still):
    weights, seen_clips, clean = trained(MIXED, still)
    assert missing(trained(PLAIN, still)[1], clean) == 0
    assert len(seen_clips) == 16 and missing(seen_clips, clean) == 16
    first, second = seen_clips[:8], seen_clips[8:]
    assert missing(second, first) >= 7, "an epoch repeats the draws of another"
    assert weights != trained(PLAIN, still)[0]
    again, repeated, _ = trained(MIXED, still)
    assert again == weights and torch.equal(repeated, seen_clips)
    other, differing, _ = trained(replace(MIXED, seed=1), still)
    assert other != weights and missing(differing, seen_clips) >= 15
    milder = trained(replace(MIXED, severity=1), still)[1]
    assert missing(milder, seen_clips) >= 8


def test_a_training_clips_draws_belong_to_its_id(still):
    _, by_row, _ = trained(MIXED, still)
    _, in_one_batch, _ = trained(replace(MIXED, batch_size=8), still)
    assert torch.equal(by_row, in_one_batch)
    _, named, _ = trained(MIXED, still, ids=[f"clip{number}" for number in range(8)])
    assert missing(named, by_row) >= 15


def test_a_recipes_corruption_is_checked_before_the_first_step(still):
    for recipe, says in (
        (replace(PLAIN, corruption="rose_mixtur"), "did you mean rose_mixture"),
        (replace(MIXED, severity=6), "severity: 6 is unknown"),
        (replace(PLAIN, corruption="rose_mixture:stage=file"), "rose_mixture acts on files; add stage=frames"),
    ):
        with pytest.raises(InputError, match=says):
            trained(recipe, still)


def test_recipes_without_a_corruption_are_described_as_before():
    plain = {"epochs", "batch_size", "lr", "weight_decay", "optimizer", "seed", "warmup", "clip_norm"}
    assert set(PLAIN.described()) == plain
    assert MIXED.described() | {"keep": "last"} == asdict(MIXED) and set(MIXED.described()) - plain == {"corruption", "severity"}
    assert replace(PLAIN, keep="best").described()["keep"] == "best"
    for entry in entries.zoo_entries().values():
        assert zoo.find(entry.model, "tiny", entry.dataset)[1]["recipe"] == entry.recipe.described()


def test_a_recipe_of_the_zoo_names_its_corruption(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "FILE", tmp_path / "zoo.toml")
    head = '[defaults]\ndatasets = ["shapes"]\nthreads = 1\nepochs = 9\nbatch_size = 16\nlr = 1e-3\n'
    (tmp_path / "zoo.toml").write_text(head + '[tsm.shapes]\ncorruption = "rose_mixture"\nseverity = 3\n')
    found = entries.zoo_entries()
    assert (found["tsm/shapes"].recipe.corruption, found["tsm/shapes"].recipe.severity) == ("rose_mixture", 3)
    assert found["i3d/shapes"].recipe.corruption == ""
