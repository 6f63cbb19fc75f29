"""``earwitness serve``: an OpenAI-compatible HTTP API over the local engine.

A request goes through the files in this order: ``app`` (routes, key, limits) reads the body, ``wire`` and ``turns``
check it, ``audio_parts`` and ``remote`` load its clips by the operator's rules, the engine prepares its rows,
``scheduler`` runs them together with everybody else's, ``calls`` follows them, ``replies`` writes the answer.
"""
