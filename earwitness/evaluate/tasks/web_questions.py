"""WebQuestions, spoken: a thousand questions; scored as ``trivia_qa``, whose fields differ.

Data: OpenAudioBench's ``web_questions.csv`` (``question``, ``answers``, ``audio_filename``), or UltraEval's parquet.
"""

from __future__ import annotations

from earwitness.evaluate.tasks.trivia_qa import SpokenQuestions

TASK = SpokenQuestions("web_questions", ("answers", "answer"))
