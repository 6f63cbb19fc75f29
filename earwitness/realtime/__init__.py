"""Speech in, reasoned speech out: the OpenAI Realtime protocol, turns, sessions and voices."""
