"""What makes a video unusable; it lies in the core, where corruptions of whole files need it too."""

from ..core.integrity import ClipError, check_duration, check_end

__all__ = ["ClipError", "check_duration", "check_end"]
