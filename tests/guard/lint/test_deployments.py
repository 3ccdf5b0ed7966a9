"""How manifests and commands are judged: by what their platform knows, without it."""

import yaml

from proven import ROOT
from tests.lint import cloud_run, gcloud, google, kubernetes, manifests

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


def test_the_build_that_is_handed_around_is_refused() -> None:
    """It is no build but a part of one. Made whole, it has flags that do not exist, and images without a version."""
    (problem,) = cloud_run.build_problems("cloudbuild.yaml", FRAGMENT)
    assert problem.line == 1
    assert "is not of type 'object'" in problem.message
    whole = yaml.safe_dump({"steps": yaml.safe_load(FRAGMENT)}, sort_keys=False)
    assert [problem.message.partition(";")[0] for problem in cloud_run.build_problems("cloudbuild.yaml", whole)] == [
        "nothing defines $SHORT_SHA in every build",
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
