"""An attacked clip as a film: clean, adversarial and magnified change side by side, as GIF or MP4."""

import io

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad

from ..look import Look
from .sheet import magnified, magnified_name

PANEL = 224
"""Pixels that the side of a panel has at least; smaller clips are enlarged by a whole number."""

HEAD = 40
"""Pixels of the two lines above the panels."""


def rate(frames: int) -> int:
    """Frames per second of a film: two seconds for a clip, but not fewer than four frames a second, to see them."""
    return max(4, frames // 2)


def pictures(look: Look) -> list[NDArray[np.uint8]]:
    """The film's frames, T arrays (H, W, 3) with even sides.

    Above each panel stand its name and what the model says of the whole clip; above the change, which frame this is.
    """
    height = look.clean.shape[2]
    zoom = max(1, -(-PANEL // height))
    parted = pad(torch.stack([look.clean, look.adversarial, magnified(look)]), (0, 1), value=1.0)
    panels = torch.cat(list(parted), dim=3)  # (3, T, H, 3 W + 3)
    names = ["clean", "adversarial", magnified_name(look)]
    says = [f"{said[:20]} {100 * score:.0f} %" for said, score, _ in (look.says(0), look.says(look.frames))]
    made = []
    for number in range(look.frames):
        image = _enlarged(panels[:, number], zoom)
        canvas = Image.new("RGB", (image.width, image.height + HEAD), "white")
        canvas.paste(image, (0, HEAD))
        pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
        for panel, words in enumerate(zip(names, [*says, f"frame {number} (0 to {look.frames - 1})"], strict=True)):
            for line, word in enumerate(words):
                pen.text((panel * image.width // 3 + 4, 2 + 18 * line), word, fill="black", font=font)
        made.append(np.asarray(canvas)[: canvas.height // 2 * 2, : canvas.width // 2 * 2])
    return made


def gif(look: Look) -> bytes:
    """A GIF of T frames that goes on for ever; 256 colours a frame, so that faint changes are coarser than they were."""
    frames = [Image.fromarray(picture) for picture in pictures(look)]
    file = io.BytesIO()
    # Unlike frames, because each bears its number: Pillow would merge like ones.
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=1000 // rate(look.frames), loop=0)
    return file.getvalue()


def mp4(look: Look) -> bytes:
    """An MP4 (H.264, yuv420p) of T frames."""
    frames = pictures(look)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate(look.frames), options={"crf": "16"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _enlarged(frame: Tensor, zoom: int) -> Image.Image:
    """A frame (3, H, W) in [0, 1] as an image, each pixel a square of `zoom` pixels."""
    levels = (255 * frame).round().byte().permute(1, 2, 0).contiguous()
    image = Image.fromarray(np.asarray(levels))
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
