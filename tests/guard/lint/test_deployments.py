"""What a platform would refuse, ignore or never reach is refused without it, at its line and with the reason."""

import pytest
import yaml

from proven import ROOT
from tests.lint import cloud_run, gcloud, google, kubernetes, manifests

KUBERNETES = ("config.yaml", "pgbouncer.yaml", "app.yaml", "secrets.sh")
CLOUD_RUN = ("service.yaml", "cloudbuild.yaml", "deploy.sh", "secrets.sh", "pgbouncer.ini")
# What it is: the file, what stands there, what is put there instead, and the message.
ON_KUBERNETES = {
    "a misspelt probe": (
        "pgbouncer.yaml",
        "readinessProbe:",
        "readynessProbe:",
        "has no field readynessProbe; did you",
    ),
    "a word for a number": ("pgbouncer.yaml", "replicas: 2", "replicas: two", "'two' is not of type 'integer'"),
    "a kind that is gone": (
        "pgbouncer.yaml",
        "policy/v1\n",
        "policy/v1beta1\n",
        "has no PodDisruptionBudget in policy",
    ),
    "a wrong port": ("config.yaml", "listen_port = 6432", "listen_port = 5432", "PgBouncer listens on 5432"),
    "a port of the Service": ("pgbouncer.yaml", "port: 6432\n", "port: 5432\n", "listens on 5432, not on 6432"),
    "a port's name": ("pgbouncer.yaml", "targetPort: pgbouncer", "targetPort: pg", "no port of the pod is called pg"),
    "a probe's port": ("app.yaml", "port: http\n", "port: web\n", "the container has no port called web"),
    "a port of the policy": (
        "pgbouncer.yaml",
        "port: pgbouncer\n# end",
        "port: pg\n# end",
        "no port of the pod is called pg",
    ),
    "a host that is none": ("app.yaml", "@pgbouncer:6432", "@pooler:6432", "no Service is called pooler"),
    "a database": ("app.yaml", ":6432/upstream", ":6432/orders", "PgBouncer has no database called orders"),
    "the direct address": ("app.yaml", "postgres.example.com:5432", "other:5432", "is at postgres.example.com:5432"),
    "a password": (
        "app.yaml",
        "//upstream@pg",
        "//upstream:pw@pg",
        "a file that people copy is no place for a password",
    ),
    "a missing secret": (
        "secrets.sh",
        "apply pgbouncer-users",
        "apply users",
        "no file makes the secret pgbouncer-users",
    ),
    "a missing ConfigMap": (
        "config.yaml",
        "name: pgbouncer\n",
        "name: config\n",
        "no file makes the configMap pgbouncer",
    ),
    "latest": ("pgbouncer.yaml", "pgbouncer:1.26.1", "pgbouncer:latest", "an image is pinned by its tag or digest"),
    "no tag": ("app.yaml", "upstream:1.0.0", "upstream", "an image is pinned by its tag or digest"),
    "a label": ("pgbouncer.yaml", "name: upstream\n", "name: web\n", "no pod has the labels"),
    "a setting": ("config.yaml", "pool_mode =", "pool_mod =", "PgBouncer has no setting called pool_mod"),
    "a short grace": ("pgbouncer.yaml", "Seconds: 120", "Seconds: 10", "preStop alone takes 10 seconds"),
}
ON_CLOUD_RUN = {
    "a misspelt probe": (
        "service.yaml",
        "startupProbe:",
        "startUpProbe:",
        "no field startUpProbe; did you mean startup",
    ),
    "a word for a number": ("service.yaml", "Concurrency: 8", 'Concurrency: "8"', "'8' is not of type 'integer'"),
    "a number for a word": ("service.yaml", 'value: "2"', "value: 2", "2 is not of type 'string'"),
    "Kubernetes' field": (
        "service.yaml",
        "          args:",
        "          lifecycle: {}\n          args:",
        "no field lifecycle",
    ),
    "Kubernetes' probe": ("service.yaml", "tcpSocket:\n              port: 6432", "exec: {}", "has no field exec"),
    "an annotation": ("service.yaml", "/cpu-throttling", "/cpu-throtling", "no annotation of a Revision is called run"),
    "a dependency": ("service.yaml", '["pgbouncer"]', '["pooler"]', "no container is called pooler"),
    "no startup probe": (
        "service.yaml",
        PROBE := """\
          startupProbe:
            tcpSocket:
              port: 6432
            periodSeconds: 1
            failureThreshold: 30
""",
        "",
        "pgbouncer has no startup probe, so app does not wait",
    ),
    "a wrong port": ("pgbouncer.ini", "listen_port = 6432", "listen_port = 5432", "PgBouncer listens on 5432"),
    "another port": ("service.yaml", "127.0.0.1:6432", "127.0.0.1:5432", "DATABASE_URL leads to 127.0.0.1:6432"),
    "a container for a host": ("service.yaml", "@127.0.0.1:6432", "@pgbouncer:6432", "DATABASE_URL leads to 127.0.0.1"),
    "a missing secret": (
        "secrets.sh",
        "create django-secret-key",
        "create key",
        "no line makes the secret django-secret-key",
    ),
    "the latest secret": ("service.yaml", 'key: "1"', "key: latest", "has no version: latest is another one tomorrow"),
    "a password": ("service.yaml", "//upstream@127", "//upstream:pw@127", "a file that people copy is no place for a"),
    "latest": ("service.yaml", "pgbouncer:1.26.1", "pgbouncer:latest", "an image is pinned by its tag or digest"),
    "a file's folder": (
        "service.yaml",
        "mountPath: /etc/pgbouncer\n",
        "mountPath: /etc\n",
        "nothing is mounted at /etc/pgb",
    ),
    "too many requests": ("service.yaml", "Concurrency: 8", "Concurrency: 80", "Gunicorn has 8 threads"),
    "a long goodbye": ("service.yaml", "timeout=8", "timeout=30", "Gunicorn waits longer than the 10 seconds"),
    "Gunicorn's port": (
        "service.yaml",
        "0.0.0.0:8080",
        "0.0.0.0:8000",
        "one container has a port, and Gunicorn listens on",
    ),
    "a flag that is none": ("deploy.sh", "--depends-on=", "--depend-on=", "has no flag --depend-on; did you mean"),
    "another flag's value": (
        "deploy.sh",
        "--concurrency=8",
        "--concurrency=80",
        "--concurrency is 80, in service.yaml 8",
    ),
    "another flag's secret": (
        "deploy.sh",
        "=pgbouncer-ini:1",
        "=ini:1",
        "container pgbouncer: --set-secrets /etc/pgbouncer/pgbouncer.ini is ini:1, in",
    ),
    "a step's flag": ("cloudbuild.yaml", "--container=app", "--sidecar=app", "has no flag --sidecar"),
    "a step's service": ("cloudbuild.yaml", "- upstream\n", "- downstream\n", "no service is called downstream"),
    "a step's image": ("cloudbuild.yaml", "/upstream/app", "/upstream/web", "the container app runs us-central1"),
    "a step's substitution": ("cloudbuild.yaml", "  _IMAGE:", "  _IMAGES:", "nothing defines $_IMAGE"),
    "a step's field": (
        "cloudbuild.yaml",
        "entrypoint:",
        "entryPoint:",
        "has no field entryPoint; did you mean entrypoint",
    ),
}
# What was handed around as a build with a sidecar.
FRAGMENT = """\
- name: 'gcr.io/google.com/cloudsdktool/cloud-sdk'
  entrypoint: gcloud
  args:
    - 'run'
    - 'deploy'
    - 'upstream-prod'
    - '--image=gcr.io/$PROJECT_ID/upstream:$SHORT_SHA'
    - '--region=us-central1'
    - '--platform=managed'
    - '--add-cloudsql-instances=$PROJECT_ID:us-central1:upstream-prod'
    - '--set-env-vars=DATABASE_URL=postgresql://user@pgbouncer:6432/upstream'
    # PgBouncer container runs as sidecar
    - '--sidecar-image=pgbouncer/pgbouncer:latest'
    - '--sidecar-env-vars=DATABASES_HOST=/cloudsql/$PROJECT_ID:us-central1:upstream-prod'
"""


def read(folder: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return files of a folder of snippets."""
    return {name: (ROOT / "snippets" / folder / name).read_text(encoding="utf-8") for name in names}


def changed(texts: dict[str, str], name: str, old: str, new: str) -> dict[str, str]:
    """Return files of which one says something else in the first place where it said `old`."""
    assert old in texts[name], f"{name} does not say {old!r}"
    return {**texts, name: texts[name].replace(old, new, 1)}


@pytest.mark.parametrize("case", ON_KUBERNETES)
def test_a_mistake_in_a_manifest_is_refused(case: str) -> None:
    """Whether Kubernetes would refuse it, or take it and never find what it names."""
    name, old, new, message = ON_KUBERNETES[case]
    found = kubernetes.problems(changed(read("kubernetes", KUBERNETES), name, old, new))
    assert [problem for problem in found if message in problem.message], found


@pytest.mark.parametrize("case", ON_CLOUD_RUN)
def test_a_mistake_in_a_service_is_refused(case: str) -> None:
    """Whether Google would refuse it, or take it and never find what it names."""
    name, old, new, message = ON_CLOUD_RUN[case]
    found = cloud_run.problems(changed(read("cloud/run", CLOUD_RUN), name, old, new))
    assert [problem for problem in found if message in problem.message], found


def test_a_mistake_is_named_with_its_line() -> None:
    """The line of the field itself, in a file of several documents, and in a command of several lines."""
    for folder, names, check, (name, old, new, _) in (
        ("kubernetes", KUBERNETES, kubernetes.problems, ON_KUBERNETES["a port's name"]),
        ("kubernetes", KUBERNETES, kubernetes.problems, ON_KUBERNETES["a setting"]),
        ("cloud/run", CLOUD_RUN, cloud_run.problems, ON_CLOUD_RUN["a misspelt probe"]),
        ("cloud/run", CLOUD_RUN, cloud_run.problems, ON_CLOUD_RUN["a flag that is none"]),
    ):
        texts = changed(read(folder, names), name, old, new)
        (problem,) = check(texts)
        assert (problem.path, texts[name].splitlines()[problem.line - 1].count(new.strip())) == (name, 1)


def test_what_is_right_is_accepted() -> None:
    """Otherwise everything would be refused."""
    assert kubernetes.problems(read("kubernetes", KUBERNETES)) == []
    assert cloud_run.problems(read("cloud/run", CLOUD_RUN)) == []


def test_the_build_that_is_handed_around_is_refused() -> None:
    """It is no build but a part of one. Made whole, it has flags that do not exist, and images without a version."""
    (problem,) = cloud_run.build_problems("cloudbuild.yaml", FRAGMENT)
    assert problem.line == 1
    assert "is not of type 'object'" in problem.message
    whole = yaml.safe_dump({"steps": yaml.safe_load(FRAGMENT)}, sort_keys=False)
    assert [problem.message.partition(";")[0] for problem in cloud_run.build_problems("cloudbuild.yaml", whole)] == [
        "cloud-sdk has no version: an image is pinned by its tag or digest",
        "gcloud run deploy has no flag --sidecar-image",
        "gcloud run deploy has no flag --sidecar-env-vars",
    ]


def test_flags_that_gcloud_does_not_have_are_refused() -> None:
    """In a script, each at its own line; and a command that nobody listed the flags of."""
    script = "#!/bin/sh\ngcloud run deploy a \\\n\t--image=b \\\n\t--sidecar-image=c\ngcloud run delpoy a\n"
    assert [str(problem).partition(";")[0] for problem in gcloud.problems("a.sh", script)] == [
        "a.sh:4: gcloud run deploy has no flag --sidecar-image",
        "a.sh:5: gcloud run delpoy a: not among the commands of gcloud.json",
    ]


def test_a_field_that_only_google_writes_is_refused() -> None:
    """Nor one that is there for another platform's sake; a whole number may be written as one or in quotes."""
    build = google.api("cloudbuild.v1").judge("Build")
    (problem,) = manifests.problems("a", "{steps: [{name: 'a:1'}], status: QUEUED}", build)
    assert problem.message.startswith("the document has no field status")
    for size in ("100", "'100'"):
        assert manifests.problems("a", f"{{steps: [{{name: a}}], options: {{diskSizeGb: {size}}}}}", build) == []
    (problem,) = manifests.problems("a", "{steps: [{name: a}], options: {diskSizeGb: large}}", build)
    assert problem.message.startswith("options.diskSizeGb: 'large' does not match")


def test_a_patch_changes_what_it_names_and_keeps_the_rest() -> None:
    """Lists of what has a name are merged by it, and other lists are replaced, as in Kubernetes' strategic merge."""
    one = {"a": [{"name": "x", "v": 1, "w": [1]}, {"name": "y"}], "b": 1}
    patch = {"a": [{"name": "x", "w": [2]}, {"name": "z"}], "c": {"d": 1}}
    assert kubernetes.merged(one, patch) == {
        "a": [{"name": "x", "v": 1, "w": [2]}, {"name": "y"}, {"name": "z"}],
        "b": 1,
        "c": {"d": 1},
    }


def test_the_patch_of_the_sidecar_is_checked_as_well() -> None:
    """A probe of the sidecar's that asks at another port than PgBouncer's."""
    texts = read("kubernetes", ("sidecar-config.yaml", "app.yaml", "sidecar.yaml", "secrets.sh"))
    patch = texts.pop("sidecar.yaml").replace("--port=6432", "--port=5432")
    app = kubernetes.merged(yaml.safe_load(texts["app.yaml"]), yaml.safe_load(patch))
    texts["app.yaml"] = yaml.safe_dump(app)
    (problem,) = kubernetes.problems(texts)
    assert problem.message == "PgBouncer listens on 6432"
