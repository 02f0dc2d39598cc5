#!/usr/bin/env python3
"""Writes the Grafana dashboards. Run it after editing: `python3 dashboards/generate.py`; CI runs it with --check.

Each panel is one line below: title, what it shows, queries. Layout, units and colours are the same everywhere because they are
made here. Only the standard library is needed.
"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent / "grafana" / "dashboards"
# Every query is narrowed by the choosers at the top of the page.
S = 'instance=~"$instance"'
M = S + ',module=~"$module"'
RATE = "$__rate_interval"
QUANTILES = (0.5, 0.95, 0.99)


def rate(metric, by="", where=S):
    inner = f"sum{f' by ({by})' if by else ''} (rate({metric}{{{where}}}[{RATE}]))"
    return inner


def quantile(q, metric, by="", where=S):
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{where}}}[{RATE}])))"


def quantiles(metric, where=S):
    return [(quantile(q, metric, where=where), f"p{q * 100:g}") for q in QUANTILES]


def panel(title, help, unit, queries, kind="timeseries", width=12, height=8, stack=False, limits=(), maximum=None):
    """One panel. `queries` are (expression, legend); `limits` are (value, colour) lines."""
    steps = [{"color": "green", "value": None}] + [{"color": c, "value": v} for v, c in limits]
    custom = {}
    if kind == "timeseries":
        custom = {
            "drawStyle": "line", "fillOpacity": 25 if stack else 8, "lineWidth": 1, "showPoints": "never",
            "spanNulls": False, "stacking": {"mode": "normal" if stack else "none"},
            "thresholdsStyle": {"mode": "line" if limits else "off"},
        }
    defaults = {"unit": unit, "min": 0, "custom": custom, "color": {"mode": "palette-classic" if kind == "timeseries" else "thresholds"},
                "thresholds": {"mode": "absolute", "steps": steps}}
    if maximum is not None:
        defaults["max"] = maximum
    options = {
        "timeseries": {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                       "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "area", "textMode": "auto"},
        "heatmap": {"calculate": False, "color": {"scheme": "Spectral", "mode": "scheme"}, "yAxis": {"unit": unit}},
        "table": {"showHeader": True},
    }[kind]
    targets = []
    for i, (expr, legend) in enumerate(queries):
        target = {"refId": chr(65 + i), "expr": expr, "legendFormat": legend, "datasource": {"type": "prometheus", "uid": "$datasource"}}
        if kind == "heatmap":
            target["format"] = "heatmap"
        if kind == "table":
            target |= {"format": "table", "instant": True}
        targets.append(target)
    return {"title": title, "description": help, "type": kind, "datasource": {"type": "prometheus", "uid": "$datasource"},
            "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options, "targets": targets,
            "gridPos": {"w": width, "h": height}}


def stat(title, help, unit, expr, legend="", limits=(), width=4):
    return panel(title, help, unit, [(expr, legend)], kind="stat", width=width, height=4, limits=limits)


def heatmap(title, help, unit, metric, where=S):
    return panel(title, help, unit, [(f"sum by (le) (increase({metric}_bucket{{{where}}}[{RATE}]))", "{{le}}")], kind="heatmap")


DASHBOARDS = {
    "overview": ("Overview and service level", [
        stat("State", "The state the server is in: green is ready.", "string", f'sum by (state) (moshi_health_state{{{S}}} == 1)', "{{state}}"),
        stat("Active sessions", "Sessions that have a row.", "none", f'sum(moshi_session_open_sessions{{{S},stage="active"}})'),
        stat("Waiting", "Sessions in the queue for a row.", "none", f"sum(moshi_admission_queue_sessions{{{S}}})", limits=[(1, "orange"), (10, "red")]),
        stat("Rows in use", "Share of the configured rows that are taken.", "percentunit",
             f"sum(moshi_engine_used_rows{{{M}}}) / sum(moshi_engine_configured_rows{{{M}}})", limits=[(0.7, "orange"), (0.9, "red")]),
        stat("Lag, 99th percentile", "Time from a frame's arrival to the end of its step.", "s",
             quantile(0.99, "moshi_engine_lag_seconds", where=M), limits=[(0.5, "orange"), (1, "red")]),
        stat("Without a server fault", "Sessions of the last hour that were admitted and not ended by the server's fault. The objective is 99.9 %.",
             "percentunit", f"1 - moshi:session_faults:ratio_rate1h{{{S}}}", limits=[]),
        panel("Sessions by stage", "Where sessions are. Many in `connecting` are slow or hostile clients; many in `queued` mean the rows are taken.",
              "none", [(f"sum by (stage) (moshi_session_open_sessions{{{S}}})", "{{stage}}")], stack=True),
        panel("Sessions begun", "Sessions given a row, a second.", "ops", [(rate("moshi_session_started_total"), "sessions")]),
        panel("Sessions ended, by reason", "`done` and `client_closed` are ordinary. `engine_failed` and `stalled` are the server's fault.",
              "ops", [(rate("moshi_session_ended_total", "reason") + " > 0", "{{reason}}")], stack=True),
        panel("Turned away, by reason", "Refusals of sessions whose credential was good.", "ops",
              [(rate("moshi_admission_refusals_total", "reason"), "{{reason}}")], stack=True),
        panel("Fault ratio", "Share of sessions refused for want of room or ended by the server's fault. The line is the objective.", "percentunit",
              [(f"moshi:session_faults:ratio_rate{window}{{{S}}}", window) for window in ("5m", "1h", "6h")], limits=[(0.001, "red")]),
        panel("Words", "Words sent a second.", "ops", [(rate("moshi_word_words_total", "module", M), "{{module}}")]),
        panel("Word latency", "Time from the arrival of the audio where a word begins to the word, the model's delay included.", "s",
              quantiles("moshi_word_latency_seconds", M)),
        panel("Step against its budget", "Time of one step, and the 80 ms a frame lasts.", "s",
              quantiles("moshi_engine_step_seconds", M + ',stage="total"') + [(f"max(moshi_engine_step_budget_seconds{{{M}}})", "budget")]),
    ]),
    "capacity": ("Capacity and batching", [
        panel("Rows", "Configured, in use, and what this machine can hold in real time by its own step times.", "none", [
            (f"sum by (module) (moshi_engine_configured_rows{{{M}}})", "configured {{module}}"),
            (f"sum by (module) (moshi_engine_used_rows{{{M}}})", "in use {{module}}"),
            (f"sum by (module) (moshi_engine_capacity_rows{{{M}}})", "estimated capacity {{module}}")]),
        panel("Devices", "Processors that compute a module now. One less is a GPU that failed.", "none",
              [(f"sum by (instance, module) (moshi_engine_devices{{{M}}})", "{{instance}} {{module}}")]),
        panel("Use of capacity", "Rows in use over the smaller of configured rows and estimated capacity.", "percentunit",
              [(f"moshi:capacity_used:ratio{{{M}}}", "{{module}}")], limits=[(0.7, "orange"), (0.9, "red")]),
        heatmap("Rows in a step", "How full batches are.", "none", "moshi_engine_batch_rows", M),
        panel("Steps", "Steps and frames a second. Frames over steps is the mean batch.", "ops", [
            (rate("moshi_engine_batch_rows_count", where=M), "steps"), (rate("moshi_engine_frames_total", where=M), "frames")]),
        panel("Step time by part, mean", "Codec, language model and everything around them.", "s", [
            (f"sum by (stage) (rate(moshi_engine_step_seconds_sum{{{M}}}[{RATE}])) / sum by (stage) (rate(moshi_engine_step_seconds_count{{{M}}}[{RATE}]))", "{{stage}}")]),
        panel("Step time by part, 99th percentile", "The budget is 80 ms for the total.", "s", [
            (quantile(0.99, "moshi_engine_step_seconds", "stage", M), "{{stage}}"),
            (f"max(moshi_engine_step_budget_seconds{{{M}}})", "budget")]),
        panel("Overruns", "Share of steps that took longer than a frame lasts.", "percentunit",
              [(f"{rate('moshi_engine_overruns_total', where=M)} / {rate('moshi_engine_batch_rows_count', where=M)}", "overruns")], limits=[(0.01, "red")]),
        panel("Queue for a row", "Sessions waiting.", "none", [(f"sum(moshi_admission_queue_sessions{{{S}}})", "waiting")]),
        panel("Wait for a row", "Of sessions that got one.", "s", quantiles("moshi_admission_wait_seconds")),
        panel("Links: depth", "What is in each queue. `docs/operations.md` tells what each filling up means.", "none",
              [(f"sum by (link) (moshi_link_depth_items{{{S}}})", "{{link}}")]),
        panel("Links: found full", "Times a second a queue was full.", "ops", [(rate("moshi_link_full_total", "link"), "{{link}}")]),
        panel("Audio in", "Seconds of sound a second: the number of live streams, by form.", "none",
              [(rate("moshi_audio_received_seconds_total", "codec"), "{{codec}}")], stack=True),
        panel("Audio lost", "Seconds of sound a second that never reached the model.", "none",
              [(rate("moshi_audio_dropped_seconds_total", "reason"), "{{reason}}")], stack=True),
    ]),
    "latency": ("Latency", [
        heatmap("Lag", "Time from the arrival of a frame's last sample to the end of the step that heard it.", "s", "moshi_engine_lag_seconds", M),
        panel("Lag", "The same, as percentiles.", "s", quantiles("moshi_engine_lag_seconds", M), limits=[(1, "red")]),
        heatmap("Word latency", "Time from the arrival of the audio where a word begins to the word.", "s", "moshi_word_latency_seconds", M),
        panel("Word latency", "The same, as percentiles.", "s", quantiles("moshi_word_latency_seconds", M)),
        panel("First word", "Time from the first audio of a session to its first word, silence at the start included.", "s",
              quantiles("moshi_word_first_seconds", M)),
        panel("Flush, 95th percentile", "Time from a request for everything heard so far to its answer.", "s",
              [(quantile(0.95, "moshi_word_flush_seconds", "kind", M), "{{kind}}")]),
        panel("Speed of sessions", "Audio heard for each second a session had its row: 1 is live, more is a file.", "none",
              quantiles("moshi_session_realtime_ratio")),
        panel("Length of sessions", "Time with a row.", "s", quantiles("moshi_session_duration_seconds")),
        panel("Audio of sessions", "Seconds of sound heard from one session.", "s", quantiles("moshi_session_audio_seconds")),
        panel("Delay of the runtime", "How late timers fire: the delay every socket sees.", "s", quantiles("moshi_runtime_delay_seconds")),
    ]),
    "speech": ("Speech", [
        panel("First sound", "Time from the first word of an utterance to the first frame of its audio.", "s",
              quantiles("moshi_speech_first_seconds", M), limits=[(1, "red")]),
        panel("Speed of speech", "Seconds of audio made for each second of a session. Below 1, who plays at once hears gaps.", "none",
              [(quantile(q, "moshi_speech_realtime_ratio", where=M), f"p{q * 100:g}") for q in (0.01, 0.05, 0.5)], limits=[(1, "green")]),
        panel("Gaps", "Share of frames that came after a client that plays at once had run out.", "percentunit",
              [(f"{rate('moshi_speech_underruns_total', 'module', M)} * 0.08 / {rate('moshi_speech_audio_seconds_total', 'module', M)}", "{{module}}")],
              limits=[(0.001, "red")]),
        panel("Steps", "Steps a second: light ones give no audio and go first when an utterance begins.", "ops",
              [(rate("moshi_speech_steps_total", "kind", M), "{{kind}}")], stack=True),
        panel("Words said", "Words and pauses a second.", "ops", [(rate("moshi_speech_words_total", "module", M), "{{module}}")]),
        panel("Audio out", "Seconds of sound a second: the streams that could be heard live.", "none",
              [(rate("moshi_speech_audio_seconds_total", "module", M), "{{module}}")], stack=True),
    ]),
    "auth": ("Sign-in and abuse", [
        panel("Accepted, by method", "Credentials accepted a second.", "ops",
              [(rate("moshi_auth_attempts_total", "method", S + ',outcome="allowed"'), "{{method}}")], stack=True),
        panel("Turned down, by reason", "Credentials turned down a second. `throttled` is an address that guesses.", "ops",
              [(rate("moshi_auth_attempts_total", "reason", S + ',outcome="denied"') + " > 0", "{{reason}}")], stack=True),
        panel("Turned down, by method", "Which credential fails.", "ops",
              [(rate("moshi_auth_attempts_total", "method", S + ',outcome="denied"'), "{{method}}")], stack=True),
        panel("Time of a check, 99th percentile", "Microseconds, unless a key set had to be fetched.", "s",
              [(quantile(0.99, "moshi_auth_check_seconds", "method"), "{{method}}")]),
        panel("Age of the key set", "Seconds since the keys in use were fetched. Empty when no key set is configured.", "s",
              [(f"time() - (moshi_auth_keyset_fetched_timestamp_seconds{{{S}}} > 0)", "age")], limits=[(3600, "red")]),
        panel("Key set", "Keys in use, and fetches a second by outcome.", "none", [
            (f"max(moshi_auth_keyset_keys{{{S}}})", "keys"), (rate("moshi_auth_keyset_fetches_total", "outcome"), "fetch {{outcome}}")]),
        panel("Connections not served", "Connections refused or cut off a second, by reason.", "ops",
              [(rate("moshi_connection_unserved_total", "reason") + " > 0", "{{reason}}")], stack=True),
        panel("Key file out of use", "Seconds for which the file of API keys could not be used. Empty while it can, or when there is none.", "s",
              [(f"time() - (moshi_auth_key_file_failed_timestamp_seconds{{{S}}} > 0)", "{{instance}}")], limits=[(60, "red")]),
        panel("Limits of users", "Sessions refused because the user has as many as the credential allows.", "ops",
              [(rate("moshi_admission_refusals_total", where=S + ',reason="user_limit"'), "user_limit")]),
        panel("Rude clients", "Sessions ended for what the client did.", "ops", [
            (rate("moshi_session_ended_total", "reason", S + ',reason=~"slow_reader|too_big|bad_message|bad_audio|protocol|unsupported|idle|too_long"'), "{{reason}}")], stack=True),
        panel("Posted files, by end", "How their decoding ended. `panicked`, `memory` and `time` are damaged files, or made to do harm.", "ops",
              [(rate("moshi_file_decodings_total", "end"), "{{end}}")], stack=True),
        panel("Posted files in work", "Decoders that run now.", "none", [(f"sum(moshi_file_decoders{{{S}}})", "decoders")]),
        panel("Close codes", "Sessions ended a second, by close code.", "ops", [(rate("moshi_session_ended_total", "code"), "{{code}}")], stack=True),
    ]),
    "process": ("Process, runtime and graphics cards", [
        panel("Processor", "Cores in use.", "none", [(f"rate(process_cpu_seconds_total{{{S}}}[{RATE}])", "{{instance}}")]),
        panel("Memory", "Memory in RAM. Flat under constant load.", "bytes", [(f"process_resident_memory_bytes{{{S}}}", "{{instance}}")]),
        panel("File descriptors", "Open, and the limit.", "none", [
            (f"process_open_fds{{{S}}}", "open {{instance}}"), (f"process_max_fds{{{S}}}", "limit {{instance}}")]),
        panel("Threads", "Threads of the process.", "none", [(f"process_threads{{{S}}}", "{{instance}}")]),
        panel("Tasks", "Tasks of the runtime: alive, and ready but waiting.", "none", [
            (f"moshi_runtime_alive_tasks{{{S}}}", "alive"), (f"moshi_runtime_queued_tasks{{{S}}}", "waiting")]),
        panel("Uptime", "Time since the process started.", "s", [(f"time() - process_start_time_seconds{{{S}}}", "{{instance}}")]),
        panel("Defects", "Panics, faults of engines and events a row could not take. All should stay 0.", "none", [
            (f"sum(increase(moshi_process_panics_total{{{S}}}[{RATE}]))", "panics"),
            (f"sum by (reason) (increase(moshi_engine_faults_total{{{M}}}[{RATE}]))", "engine: {{reason}}"),
            (f"sum(increase(moshi_session_illegal_events_total{{{S}}}[{RATE}]))", "illegal events")], limits=[(1, "red")]),
        panel("Moves between stages", "Sessions going from stage to stage, a second.", "ops",
              [(rate("moshi_session_transitions_total", "from, to") + " > 0", "{{from}} to {{to}}")]),
        panel("Graphics card: memory", "Empty without an NVIDIA card.", "bytes", [
            (f"moshi_gpu_memory_used_bytes{{{S}}}", "used {{gpu}}"), (f"moshi_gpu_memory_size_bytes{{{S}}}", "size {{gpu}}")]),
        panel("Graphics card: busy", "Share of time with a kernel running. Empty without an NVIDIA card.", "percentunit",
              [(f"moshi_gpu_busy_ratio{{{S}}}", "{{gpu}}")], maximum=1),
        panel("Graphics card: power", "Empty without an NVIDIA card.", "watt", [(f"moshi_gpu_power_watts{{{S}}}", "{{gpu}}")]),
        panel("Graphics card: temperature", "Empty without an NVIDIA card.", "celsius", [(f"moshi_gpu_temperature_celsius{{{S}}}", "{{gpu}}")]),
        panel("Build", "Version, commit and features.", "none", [(f"moshi_build_info{{{S}}}", "")], kind="table"),
        panel("Models", "What each module loaded.", "none", [(f"moshi_model_info{{{M}}}", "")], kind="table"),
    ]),
}


def chooser(name, label, query):
    return {"name": name, "label": label, "type": "query", "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1,
            "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
            "datasource": {"type": "prometheus", "uid": "$datasource"}}


def dashboard(name, title, panels):
    x = y = tallest = 0
    for i, p in enumerate(panels):
        width, height = p["gridPos"]["w"], p["gridPos"]["h"]
        if x + width > 24:
            x, y, tallest = 0, y + tallest, 0
        p["id"] = i + 1
        p["gridPos"] = {"x": x, "y": y, "w": width, "h": height}
        x, tallest = x + width, max(tallest, height)
    return {
        "uid": f"moshi-{name}", "title": f"Moshi: {title}", "tags": ["moshi-server"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "links": [{"type": "dashboards", "tags": ["moshi-server"], "title": "Other pages", "asDropdown": False, "includeVars": True, "keepTime": True}],
        "templating": {"list": [
            {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus"},
            chooser("instance", "Instance", "label_values(moshi_health_state, instance)"),
            chooser("module", "Module", "label_values(moshi_engine_configured_rows, module)"),
        ]},
        "panels": panels,
    }


def main():
    stale = []
    for name, (title, panels) in DASHBOARDS.items():
        path = HERE / f"{name}.json"
        text = json.dumps(dashboard(name, title, panels), indent=1) + "\n"
        if "--check" in sys.argv[1:]:
            stale += [path.name] if not path.exists() or path.read_text() != text else []
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run python3 dashboards/generate.py")


main()
