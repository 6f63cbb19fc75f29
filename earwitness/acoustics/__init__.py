"""What can be measured in a recording without any model: pitch, notes, loudness, rhythm, voice and timbre.

Praat (``praat-parselmouth``) and librosa come with the extra ``acoustics`` and are imported when first needed.
"""

from earwitness.acoustics.measurements import Measurements
from earwitness.acoustics.notes import Note
from earwitness.acoustics.quantity import Quantity, note_name
from earwitness.acoustics.rhythm import same_pulse
from earwitness.acoustics.segments import Event

__all__ = ["Event", "Measurements", "Note", "Quantity", "note_name", "same_pulse"]
