"""Mistakes that people make: what is typed, what is said, how it ends; nothing is sent, and nothing is lost.

Each line is tried as it stands in a directory with the files below. `RUN` is a whole command over `a.jsonl`
with a provider that counts what it gets, `SIM` the same with the simulator of the command itself.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchlab.job.index import COLUMNS, FRESH, all_settings
from batchlab.job.request import PARAMETERS

ROWS = [{"id": n, "text": f"text {n}", "q": f"What is {n}+1?"} for n in range(6)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
RUN = "run a.jsonl -m M --base-url {url} --api-key-env SIMULATOR_KEY --progress none"
SIM = "run a.jsonl -m M --base-url simulator --progress none"
KEY = "sk-1234567890abcdef"


def written(folder: Path) -> None:
    """The files that people have."""
    files: dict[str, str | bytes] = {
        "a.jsonl": JSONL,
        "ü ñ.jsonl": JSONL,
        "prompt.jsonl": "".join(json.dumps({"prompt": row["q"]}) + "\n" for row in ROWS),
        "arr.json": json.dumps(ROWS),
        "arr1.jsonl": json.dumps(ROWS) + "\n",
        "obj.json": json.dumps({"rows": ROWS}),
        "p.txt": "first\nsecond\n",
        "x.xlsx": b"PK\x03\x04nothing",
        "p.pkl": b"\x80\x04",
        "dirj/1.jsonl": JSONL,
        "dirj/2.jsonl": JSONL,
        "a.jsonl.gz": gzip.compress(JSONL.encode()),
        "liar.jsonl": "id,text\n1,a\n2,b\n",
        "empty.jsonl": "",
        "bad.jsonl": JSONL + "{broken\n",
        "utf16.csv": "id,text\n1,ä\n".encode("utf-16"),
        "latin.csv": "id,text\n1,ä\n".encode("latin-1"),
        "semi.csv": "id;text\n1;a\n2;b\n",
        "named.csv": "id,text,status,completion\n1,a,b,c\n2,d,e,f\n",
        "exist.csv": "mine\n",
        "prompt.txt": "Summarize {text}",
        "p.prompt": "Summarize {text}\n",
        "bad.j2": "Summarize {{ text \n",
        "other.j2": "Summarize {{ body }}",
        "shape.json": "{}",
        "night.toml": '[input]\npath = "a.jsonl"\n[endpoint]\nbase_url = "simulator"\n[request]\nmodel = "M"\nprompt = "{text}"\n',
        "wrong.toml": '[input]\npath = "a.jsonl"\n[request]\nmodel = "M"\nprompt = "{text}"\ntemprature = 0.2\n',
        "above.toml": 'model = "M"\n[input]\npath = "a.jsonl"\n',
        "broken.toml": "[input\n",
        "loose.key": KEY,
        "home/notes.md": "mine\n",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "empty").mkdir()
    (folder / "loose.key").chmod(0o644)


@dataclass(frozen=True)
class Mistake:
    """A command line, a phrase that must be said, and how it ends.

    Attributes:
        sent: how many requests the provider gets; None for as many as it refuses.
        env: variables beside the usual ones.
        first: commands that were right, and are typed before.
    """

    typed: str
    said: str
    code: int = 2
    sent: int | None = 0
    env: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    stdin: str | None = None


def ok(typed: str, said: str = "", *, sent: int | None = None, **more) -> Mistake:
    """What looks like a mistake, and is understood."""
    return Mistake(typed, said, code=0, sent=(6 if "{url}" in typed else 0) if sent is None else sent, **more)


TEXT = " -p '{text}'"

MISTAKES = [
    # commands and options by another name
    Mistake("runn a.jsonl", "id you mean"),
    Mistake(RUN + " --promt '{text}'", "'--prompt'"),
    Mistake(RUN + TEXT + " --max_tokens 5", "It is written --max-tokens."),
    Mistake(RUN + TEXT + " --concurency 5", "--concurrency"),
    Mistake(RUN + TEXT + " --dry-run", "'batchlab plan' with the same arguments"),
    Mistake(RUN + TEXT + " --verbose", "--log-file FILE has every event"),
    Mistake(RUN + TEXT + " --resume", "the same command goes on"),
    Mistake(RUN + TEXT + " --seed 7", "--param seed=VALUE"),
    Mistake(RUN + TEXT + " --stop END", "--param stop=VALUE"),
    Mistake(RUN + TEXT + " --reasoning-effort low", "--param reasoning_effort=VALUE"),
    Mistake(RUN + TEXT + " --sample 3", "-n N sends the first N rows"),
    Mistake(RUN + TEXT + " --head 3", "-n N sends the first N rows"),
    Mistake(RUN + TEXT + " --retries 3", "--max-attempts N"),
    Mistake(RUN + TEXT + " --workers 3", "-c N is the most requests at once"),
    Mistake(RUN + TEXT + " --batch-size 3", "-c N is the most requests at once"),
    Mistake(RUN + TEXT + " --output-dir x", "--run-dir DIR is where the run is kept"),
    Mistake(RUN + TEXT + f" --api-key {KEY}", "--api-key-env NAME names its variable"),
    Mistake(RUN + TEXT + " --url http://127.0.0.1:9", "--base-url URL"),
    Mistake(RUN + TEXT + " --provider openai", "--preset NAME"),
    Mistake(RUN + TEXT + " --template p.j2", "--prompt-file FILE.j2"),
    Mistake(RUN + TEXT + " --budget 5", "--max-cost USD"),
    Mistake("run --job night.toml", "batchlab run JOB.toml"),
    Mistake("run --file a.jsonl -m M", "-i FILE names the rows"),
    Mistake(RUN + TEXT + " --system-prompt Brief.", "-s TEXT is the system message"),
    Mistake("report runs/x --open", "open it in a browser"),
    Mistake("resume runs/x", "same command"),
    Mistake("models", "check --list"),
    Mistake("tail runs/x", "batchlab status RUN"),
    Mistake("list", "batchlab ls"),
    Mistake("a.jsonl", "batchlab run a.jsonl"),
    ok("ls"),
    Mistake("show runs/x", "not a run directory"),
    Mistake("status", "no run under runs/"),
    Mistake("status runs/x", "not a run directory"),
    Mistake("status runs", "holds runs", first=(SIM + TEXT,)),
    ok("status a", "runs/a: finished", first=(SIM + TEXT,)),
    ok("show", "runs/a, the newest run", first=(SIM + TEXT,)),
    ok("show 3", "row 3", first=(SIM + TEXT,)),
    ok("cost", "batchlab cost runs/a --price M=IN,OUT", first=(SIM + TEXT,)),
    ok("cost a --price M=1,2", "what_if_usd", first=(SIM + TEXT,)),
    ok("verify a", "verified", first=(SIM + TEXT,)),
    ok("export a -o -", "completion", first=(SIM + TEXT,)),
    Mistake("show 4", "no run under runs/"),
    Mistake("cost --by status", "no run under runs/"),
    Mistake("retry", "Missing argument 'RUN'", first=(SIM + TEXT,)),
    Mistake("export -o x.csv", "Missing argument 'RUN'", first=(SIM + TEXT,)),
    ok(
        SIM + TEXT + " --price-in 1 --price-out 2",
        "to try one: batchlab cost runs/a --price",
        first=(SIM + TEXT,),
    ),
    Mistake("status runs/aa", "runs/a?", first=(SIM + TEXT,)),
    Mistake("report runs", "not a run directory", first=(SIM + TEXT,)),
    Mistake("verify", "Missing argument 'RUN'"),
    ok("cost runs/a runs/a", "completion_tokens", first=(SIM + TEXT,)),
    # the prompt
    Mistake(RUN, "Pass --prompt with a template such as '{text}'"),
    Mistake(RUN + " -p '{txt}'", "did you mean {text}?"),
    Mistake(RUN + " -p '{Text}'", "did you mean {text}?"),
    ok(RUN + """ -p 'Answer in JSON like {"a": 1}: {text}'"""),
    Mistake(RUN + " -p Summarize", "all 6 rows would ask the same"),
    Mistake(RUN + " -p '{{text}}'", "the column is {text}, in single ones"),
    Mistake(RUN + " -p '{{ text }}'", "the column is {text}, in single ones"),
    Mistake(RUN + " -p '{row.text}'", "here the column is {text}"),
    Mistake(RUN + " -p '{text.upper()}'", "--prompt-file names a Jinja2 template"),
    Mistake(RUN + " -p 'Sum up: $text'", "It says $text; the column is {text}."),
    Mistake(RUN + " -p '<text>'", "the column is {text}"),
    Mistake(RUN + " -p 'Sum up: %s'", "It says %s; the column is {text}."),
    Mistake(RUN + " -p text", "the column is {text}"),
    Mistake(RUN + " -p @prompt.txt", "--prompt-file prompt.txt"),
    Mistake(RUN + " --prompt-file p.prompt", "in a Jinja2 template the column is {{ text }}"),
    Mistake(
        RUN + " --prompt-file nope.j2", "nope.j2: cannot read the template: No such file or directory in"
    ),
    Mistake(RUN + " --prompt-file bad.j2", "bad.j2:"),
    Mistake(RUN + " --prompt-file other.j2", "no column 'body'; found: id, text, q"),
    Mistake(RUN + TEXT + " --prompt-file p.prompt", "keep one"),
    Mistake("plan a.jsonl -m M --base-url simulator -p Summarize", "all 6 rows would ask the same"),
    Mistake("plan a.jsonl -m M --base-url simulator -p '{{text}}'", "in single ones"),
    ok(RUN + " -p Hello --same-prompt"),
    ok(RUN + " -p Hello -n 1", sent=1),
    Mistake("run 'What is 2+2?' -m M --base-url simulator", "If it is the prompt, pass it by --prompt"),
    Mistake("run -m M -p 'What is 2+2?' --base-url simulator", "no input; pass --input FILE"),
    Mistake("run a.jsonl -m M --base-url simulator -p Summarize {text}", "is in quotes: -p"),
    # the input
    Mistake("run a.jsonl -p '{text}' --base-url simulator", "no model; pass --model MODEL"),
    Mistake("run nofile.jsonl -m M -p '{text}' --base-url simulator", "No such file or directory in {home}"),
    Mistake("run aa.jsonl -m M -p '{text}' --base-url simulator", "there is a.jsonl"),
    Mistake("run data/a.jsonl -m M -p '{text}' --base-url simulator", "there is no directory {home}/data"),
    Mistake(r"run 'C:\data\a.jsonl' -m M -p '{text}' --base-url simulator", "No such file or directory"),
    Mistake("run jobs/nofile.toml", "there is no directory {home}/jobs"),
    Mistake("run nigth.toml", "there is night.toml"),
    Mistake("run night.toml a.jsonl", "The rows are one file"),
    Mistake("run night.toml -i", "requires an argument"),
    Mistake("run dirj/1.jsonl dirj/2.jsonl -m M -p '{text}' --base-url simulator", "a glob in quotes"),
    ok("run arr.json -m M -p '{text}' --base-url simulator"),
    ok("run arr1.jsonl -m M -p '{text}' --base-url simulator"),
    ok("run obj.json -m M -p '{text}' --base-url simulator", "the rows are the list 'rows'"),
    Mistake("run p.txt -m M -p '{text}' --base-url simulator", "columns: prompt."),
    ok("run p.txt -m M --base-url simulator"),
    Mistake("run x.xlsx -m M -p '{text}' --base-url simulator", "x.xlsx"),
    Mistake("run p.pkl -m M -p '{text}' --base-url simulator", "p.pkl"),
    ok("run dirj -m M -p '{text}' --base-url simulator"),
    ok("run 'dirj/*.jsonl' -m M -p '{text}' --base-url simulator"),
    ok("run a.jsonl.gz -m M -p '{text}' --base-url simulator"),
    Mistake(
        "run liar.jsonl -m M -p '{text}' --base-url simulator", "no row can be read; the first: not JSON"
    ),
    ok("run - -m M -p '{text}' --base-url simulator --run-dir runs/in", stdin=JSONL),
    Mistake("run", "no input", stdin=JSONL),
    Mistake("run empty.jsonl -m M -p '{text}' --base-url simulator", "empty.jsonl: has no rows"),
    Mistake("run empty -m M -p '{text}' --base-url simulator", "empty: no"),
    Mistake("run bad.jsonl -m M -p '{text}' --base-url simulator -q", "", code=1),
    Mistake("run bad.jsonl -m M -p '{text}' --base-url simulator --strict", "bad.jsonl:7:"),
    ok("run utf16.csv -m M -p '{text}' --base-url simulator"),
    Mistake(
        "run latin.csv -m M -p '{text}' --base-url simulator",
        "not UTF-8 text, so the file is in another encoding; pass --encoding cp1252, which reads '1,ä'",
    ),
    Mistake(
        "plan latin.csv -m M -p '{text}' --base-url simulator",
        "not UTF-8 text, so the file is in another encoding; pass --encoding cp1252, which reads '1,ä'",
    ),
    ok("run latin.csv -m M -p '{text}' --base-url simulator --encoding cp1252"),
    Mistake("run latin.csv -m M -p '{text}' --base-url simulator --encoding ansi", "is --encoding cp1252."),
    Mistake(
        "run latin.csv -m M -p '{text}' --base-url simulator --encoding latn1", "mean --encoding latin-1?"
    ),
    Mistake("run latin.csv -m M -p '{text}' --base-url simulator --encoding utf-16", "no byte order mark"),
    Mistake("run latin.csv -m M -p '{text}' --base-url simulator --encoding idna", "no encoding 'idna'"),
    Mistake("simulate --fault http503=0.1", "did you mean http_503"),
    Mistake("simulate --port 80000", "80000 is not in the range"),
    Mistake("run a.jsonl,b.jsonl -m M -p '{text}' --base-url simulator", "a glob in quotes"),
    Mistake(RUN + TEXT + " -o out.xlsx", "as a .csv with --csv-encoding utf-8-sig"),
    Mistake(RUN + TEXT + " --excel", "--csv-encoding utf-8-sig"),
    Mistake(RUN + TEXT + " --csv-delimiter ,,", "',,' is not one of"),
    ok("run semi.csv -m M -p '{text}' --base-url simulator"),
    Mistake(
        "run named.csv -m M -p '{text}' --base-url simulator", "Pass --prefix, for example --prefix out_"
    ),
    ok("run 'ü ñ.jsonl' -m M -p '{text}' --base-url simulator"),
    Mistake(RUN + TEXT + " --id-column uid", "no column 'uid'; found: id, text, q"),
    Mistake(RUN + TEXT + " --row-params opts", "no column 'opts'"),
    Mistake(RUN + TEXT + " --image-column photo", "no column 'photo'"),
    # the job file
    Mistake("run wrong.toml --base-url simulator", "did you mean 'temperature'?"),
    Mistake("run above.toml --base-url simulator", "stands above all sections"),
    Mistake("run broken.toml", "not valid TOML"),
    Mistake("run night.toml -i a.jsonl --run-dir", "requires an argument"),
    ok("init job.toml", "next: batchlab plan job.toml"),
    Mistake("init night.toml", "exists already"),
    # the endpoint and its key
    Mistake("run a.jsonl -m M -p '{text}'", "set MODELSLAB_API_KEY"),
    Mistake("run a.jsonl -m M -p '{text}' --preset openai", "set OPENAI_API_KEY"),
    Mistake("run a.jsonl -m M -p '{text}'", "pass --preset openai", env=("OPENAI_API_KEY=sk-abc",)),
    Mistake("run a.jsonl -m M -p '{text}' --preset openia", "did you mean 'openai'?"),
    ok("plan a.jsonl -m M -p '{text}' --preset openai", "run would be refused: the API key is missing"),
    Mistake("run a.jsonl -m M -p '{text}' --base-url {url} --api-key-env NOPE", "set NOPE"),
    Mistake(f"run a.jsonl -m M -p '{{text}}' --base-url {{url}} --api-key-env {KEY}", ""),
    Mistake("run a.jsonl -m M -p '{text}' --base-url {url} --api-key-file loose.key", "chmod 600 loose.key"),
    Mistake("run a.jsonl -m M -p '{text}' --base-url 127.0.0.1:9/v1", "did you mean http://127.0.0.1:9/v1?"),
    Mistake(
        "run a.jsonl -m M -p '{text}' --base-url api.openai.com/v1", "did you mean https://api.openai.com/v1?"
    ),
    Mistake("run a.jsonl -m M -p '{text}' --base-url http:/vllm/v1", "did you mean http://vllm/v1?"),
    Mistake("run a.jsonl -m M -p '{text}' --base-url 'http://[::1/v1'", "its host is no name and no address"),
    Mistake("run a.jsonl -m M -p '{text}' --base-url http://127.0.0.1:99999/v1", "its port is no number"),
    Mistake("run a.jsonl -m M -p '{text}' --base-url http://me:secret/v1", "its port is no number"),
    Mistake("run a.jsonl -m M -p '{text}' --param 'tools=[{a:1}]'", "--param tools: is no JSON"),
    Mistake("run a.jsonl -m M -p '{text}' --base-url 'https://a.b/v1?api_key=x'", "would get into files"),
    Mistake(RUN.replace("SIMULATOR_KEY", "K") + TEXT, "", code=3, sent=None, env=("K=wrong-key-0123456789",)),
    ok(RUN.replace("{url}", "{url}/chat/completions") + TEXT, sent=6),
    Mistake(RUN + TEXT + " --header 'Authorization: Bearer x'", "--header"),
    # where it goes
    ok(SIM + TEXT + " -o nodir/x.parquet"),
    Mistake(RUN + TEXT + " -o exist.csv", "exist.csv"),
    Mistake(RUN + TEXT + " -o a.jsonl", "written over the input"),
    Mistake(RUN + TEXT + " -o x.txt", "must end in"),
    Mistake(RUN + TEXT + " -o empty", "must end in"),
    Mistake(RUN + TEXT + " --log-file a.jsonl", "written over the input"),
    Mistake("run night.toml -o night.toml --to csv", "written over the job file"),
    ok(SIM + TEXT + " --run-dir empty"),
    Mistake(RUN + TEXT + " --run-dir home", "holds files that are no run's: notes.md"),
    Mistake(RUN + TEXT + " --run-dir dirj", "Pass --run-dir dirj/run"),
    Mistake(RUN + TEXT + " --run-dir .", "holds files that are no run's"),
    Mistake(RUN + TEXT + " --run-dir exist.csv", "is a file, and a run is a directory"),
    Mistake(SIM + " -p '{q}'", "Pass --fresh", first=(SIM + TEXT,)),
    ok(
        "plan a.jsonl -m M --base-url simulator -p '{q}'",
        "Pass --fresh to ask the new one",
        first=(SIM + TEXT,),
    ),
    Mistake(
        "run prompt.jsonl -m M --base-url simulator --run-dir runs/a", "Pass --fresh", first=(SIM + TEXT,)
    ),
    Mistake(
        "run dirj/1.jsonl -m M -p '{text}' --base-url simulator --run-dir runs/1 --shard-rows 0", "at least 1"
    ),
    Mistake("export runs/a -o a.jsonl", "", first=(SIM + TEXT,)),
    Mistake("export runs/a -o x.docx", "", first=(SIM + TEXT,)),
    # parameters, limits and money
    Mistake(RUN + TEXT + " --param max_tokens", "for example max_tokens=7, or --max-tokens VALUE"),
    Mistake(RUN + TEXT + " --param seed", "for example seed=7"),
    ok(SIM + TEXT + " --param temprature=0.3", "sent as it is; did you mean 'temperature'?"),
    ok(
        "plan a.jsonl -m M --base-url simulator -p '{text}' --param max_token=3", "did you mean 'max_tokens'?"
    ),
    Mistake(RUN + TEXT + " --temperature hot", "'hot' is no number, such as 0.5"),
    Mistake(RUN + TEXT + " --max-cost 1", "Pass --price-in and --price-out"),
    Mistake(RUN + TEXT + " --max-cost five", "'five' is no number"),
    ok(RUN + TEXT + " --max-cost 1 --price-in 1 --price-out 2"),
    ok(
        "plan a.jsonl -m M --base-url simulator -p '{text}' --max-cost 1",
        "run would be refused: a cost cap needs a price",
    ),
    Mistake(RUN + TEXT + " --price-in 1", "pass --price-out USD too"),
    Mistake(RUN + TEXT + " --price-out 1", "pass --price-in USD too"),
    Mistake(RUN + TEXT + " --deadline 8hours", "such as 90s, 15m or 8h"),
    Mistake(RUN + TEXT + " --timeout soon", "such as 90s, 15m or 8h"),
    Mistake(RUN + TEXT + " -n 0", "must be at least 1"),
    Mistake(RUN + TEXT + " -c 0", "must be at least 1"),
    Mistake(RUN + TEXT + " --schema shape.json --schema-mode xml", "xml"),
    Mistake(RUN + TEXT + " --expand", "needs a schema; pass --schema FILE"),
    Mistake(RUN + TEXT + " --fail-on wrong", "the words are truncated, filtered, empty"),
    Mistake(RUN + TEXT + " --dedupe", "Pass --temperature 0"),
    Mistake("retry runs/a --only nonsense", "nonsense", first=(SIM + TEXT,)),
    Mistake("plan a.jsonl -m M --base-url simulator -p '{text}' --pilot 2", "too few rows to say anything"),
]


def named(mistake: Mistake) -> str:
    return mistake.typed.replace(" --progress none", "")[:110]


def raw_settings(said: str) -> list[str]:
    """Settings in a text as messages name them, `{limits.rpm}`, or as a job file does, `limits.rpm`."""
    dotted = {setting.dotted for setting in (*all_settings(), *PARAMETERS, FRESH, COLUMNS)}
    braced = re.findall(r"\{[a-z]+\.[a-z_]+(?:=[^{}]*)?\}", said)
    return [one for one in braced if "row." not in one and "text." not in one] + [
        one for one in re.findall(r"(?<![\w./])[a-z]+\.[a-z_]+(?![\w/])", said) if one in dotted
    ]


def contents(folder: Path) -> dict[str, str]:
    """Every file that a person has there, by what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("mistake", MISTAKES, ids=named)
def test_a_mistake_is_told_and_costs_nothing(batchlab, simulator, mistake):
    home = batchlab.home
    written(home)
    server = simulator()

    def typed(line: str, **more):
        env = dict(pair.split("=", 1) for pair in mistake.env)
        return batchlab(*shlex.split(line.replace("{url}", server.base_url)), **more, **env)

    for line in mistake.first:
        assert typed(line).code == 0
    before = contents(home)
    done = typed(mistake.typed, stdin=mistake.stdin)

    said = " ".join((done.out + done.err).split())
    assert done.code == mistake.code, said
    assert " ".join(mistake.said.replace("{home}", str(home)).split()) in said
    assert mistake.sent in (None, server.ledger()["requests"])
    assert ".toml" in mistake.typed or not raw_settings(said), "a person on the command line is told flags"
    assert KEY not in said.replace(f"--api-key {KEY}", "")
    after = contents(home)
    assert {name: after.get(name) for name in before if "runs/" not in name} == {
        name: digest for name, digest in before.items() if "runs/" not in name
    }
    if mistake.code == 2 and not mistake.first:
        assert after == before, "a refusal leaves nothing behind"


def test_the_table_is_not_shorter_than_the_list_it_began_with():
    assert len({(mistake.typed, mistake.env) for mistake in MISTAKES}) == len(MISTAKES) >= 136
