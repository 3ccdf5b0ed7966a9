// The calculator. The formulas are those of snippets/sizing/, under the same names; a test compares both.
// Not deferred: the form is there before what stands below it is laid out, so nothing moves.
"use strict";

(() => {
  // ---- queueing.py: times in seconds, rates per second ----

  const erlang_c = (servers, load) => {
    if (load >= servers) return 1;
    let blocked = 1; // Erlang B of no server at all
    for (let number = 1; number <= servers; number++) blocked = (load * blocked) / (number + load * blocked);
    return (servers * blocked) / (servers - load * (1 - blocked));
  };

  const mmc_wait_percentile = (rate, service_time, servers, percent = 95) => {
    const load = rate * service_time;
    const waiting = erlang_c(servers, load);
    if (load >= servers) return Infinity;
    const rest = (100 - percent) / 100;
    return waiting <= rest ? 0 : (service_time / (servers - load)) * Math.log(waiting / rest);
  };

  const servers_needed = (rate, service_time, wait) => {
    let servers = Math.floor(rate * service_time) + 1;
    while (mmc_wait_percentile(rate, service_time, servers) > wait) servers += 1;
    return servers;
  };

  // ---- budget.py ----

  const OTHER_FILES = 100;
  const MOST_BUSY = 1000;
  const NUMBER = /^ *([0-9]{1,9}(\.[0-9]{1,9})?) *$/;

  // What is wrong with what was typed. `fields` has for each name what budget.py's FIELDS say of it.
  const refusals = (typed, fields) => {
    const found = {};
    for (const [name, { lowest, highest, whole, wants }] of Object.entries(fields)) {
      const number = NUMBER.exec(typed[name]);
      const fits = number && !(whole && number[2]) && lowest <= Number(number[1]) && Number(number[1]) <= highest;
      if (!fits) found[name] = wants;
    }
    if (Object.keys(found).length) return found;
    const given = numbers(typed);
    const kept = given.superuser_reserved + given.reserved;
    if (given.max_connections <= kept) found.max_connections = `Enter more than the ${kept} reserved slots.`;
    if ((given.rate * given.db_ms) / 1000 > MOST_BUSY) {
      found.rate = `Enter less: more than ${MOST_BUSY} connections would be busy.`;
    }
    return found;
  };

  const numbers = (typed) => Object.fromEntries(Object.entries(typed).map(([name, text]) => [name, Number(text)]));

  const plan = (given) => {
    // Who connects, at the worst moment of a deploy.
    const in_each = given.pool || given.threads;
    const most_instances = Math.max(given.instances, given.max_instances);
    const web = given.processes * in_each * most_instances * given.aliases;
    const straight = given.migrations + given.other;
    const everyone = web + Math.ceil((web * given.surge) / 100) + given.celery + given.cron + straight;
    const clients = everyone - straight;
    const kept = given.superuser_reserved + given.reserved;
    const usable = given.max_connections - kept;

    // Each pool is a queue of its own, and gets its share of the requests.
    let pools = given.replicas * given.pairs;
    if (!pools && given.pool) pools = given.processes * given.instances;
    const rate = given.rate / Math.max(pools, 1);
    const hold = given.db_ms / 1000;
    const needed = servers_needed(rate, hold, given.wait_ms / 1000);
    const size = given.pool_size || needed;
    const servers = given.replicas ? size : given.pool;
    const wait = pools ? mmc_wait_percentile(rate, hold, servers) : 0;

    // What each PgBouncer lets in, and what it opens itself.
    const most_clients = Math.ceil((clients * 5) / 4);
    const most_servers = given.pairs * (size + given.reserve_pool);

    // What is open on PostgreSQL then, and the least that leaves a fifth free.
    const behind = given.replicas * most_servers;
    const opened = given.replicas ? behind + straight : everyone;
    const least = Math.ceil((opened * 5) / 4) + kept;

    // The other way round.
    const free = usable - straight;
    const fits = Math.max(0, Math.floor(((free - given.celery - given.cron) * 100) / (100 + given.surge)));
    const share = Math.floor(Math.max(0, free) / Math.max(given.replicas * given.pairs, 1));
    return {
      web,
      clients,
      everyone,
      straight,
      behind,
      opened,
      usable,
      band: band(opened, usable),
      busy: given.rate * hold,
      needed,
      size,
      wait: wait * 1000,
      max_client_conn: most_clients,
      max_db_connections: most_servers,
      open_files: most_clients + most_servers + OTHER_FILES,
      least: least <= 262143 ? least : null,
      most_instances: Math.floor(fits / (given.processes * in_each * given.aliases)),
      most_threads: Math.floor(fits / (given.processes * most_instances * given.aliases)),
      largest_pool: Math.max(0, share - given.reserve_pool),
    };
  };

  const band = (opened, usable) => (opened > usable ? "too many" : opened * 5 > usable * 4 ? "tight" : "fits");

  const address = (port) => `postgresql://upstream:change-me@127.0.0.1:${port}/upstream`;

  // By whether there is a PgBouncer, and whether Django has a pool of its own.
  const MODULES = [
    ["prod", "pool"],
    ["pgbouncer", "pooled"],
  ];

  const settings = (given) => {
    const found = plan(given);
    const files = {
      ".env": {
        DATABASE_URL: address(given.replicas ? 6432 : 5432),
        DATABASE_DIRECT_URL: address(5432),
        DB_CONN_MAX_AGE: given.pool ? 0 : 60,
        DJANGO_SETTINGS_MODULE: `settings.${MODULES[given.replicas ? 1 : 0][given.pool ? 1 : 0]}`,
        GUNICORN_WORKERS: given.processes,
        GUNICORN_THREADS: given.threads,
        DB_POOL_SIZE: given.pool,
      },
    };
    if (given.replicas) {
      files["pgbouncer.ini"] = {
        default_pool_size: found.size,
        reserve_pool_size: given.reserve_pool,
        max_db_connections: found.max_db_connections,
        max_client_conn: found.max_client_conn,
      };
    }
    if (found.least !== null) {
      files["postgresql.conf"] = {
        max_connections: Math.max(found.least, given.max_connections),
        superuser_reserved_connections: given.superuser_reserved,
        reserved_connections: given.reserved,
      };
    }
    return files;
  };

  const fill = (text, values) => {
    let before = "";
    for (const [name, value] of Object.entries(values)) {
      const line = new RegExp(`^${name}( ?= ?).*$`, "gm");
      if (line.test(text)) text = text.replace(line, `${name}$1${value}`);
      else if (value) text = text.replace(new RegExp(`^${before}( ?= ?).*$`, "gm"), `$&\n${name}$1${value}`);
      before = name;
    }
    return text;
  };

  // ---- the page ----

  const by = (id) => document.getElementById(`calculator-${id}`);
  const place = by("place");
  place.replaceChildren(place.querySelector("template").content);
  const form = by("form");
  const inputs = [...form.querySelectorAll("input")];
  const fields = Object.fromEntries(
    inputs.map(({ name, dataset: { lowest, highest, whole, wants } }) => [
      name,
      { lowest: Number(lowest), highest: Number(highest), whole: whole !== undefined, wants },
    ]),
  );
  const files = [...place.querySelectorAll("[data-file]")].map((figure) => {
    const output = figure.querySelector("samp");
    return { figure, output, name: figure.dataset.file, text: output.textContent }; // the text as it was proven
  });
  const NONE = "no PgBouncer";
  const TOO_MANY = "more than PostgreSQL takes";
  const ms = (wait) => (wait === Infinity ? "without end" : `${wait.toFixed(wait < 10 ? 1 : 0)} ms`);

  // Each formula with the reader's numbers.
  const sums = (given, found) => {
    const { celery, cron, migrations, other, max_connections, superuser_reserved, reserved } = given;
    const instances = Math.max(given.instances, given.max_instances);
    const size = `(${found.size} + ${given.reserve_pool})`;
    const behind = `${given.replicas} × ${given.pairs} × ${size} = ${found.behind}`;
    return {
      web_sum: `${instances} × ${given.processes} × ${given.pool || given.threads} × ${given.aliases} = ${found.web}`,
      clients_sum: `${found.web} + ⌈${found.web} × ${given.surge} ÷ 100⌉ + ${celery} + ${cron} = ${found.clients}`,
      behind_sum: given.replicas ? behind : NONE,
      opened_sum: `${given.replicas ? found.behind : found.clients} + ${migrations} + ${other} = ${found.opened}`,
      usable_sum: `${max_connections} − ${superuser_reserved} − ${reserved} = ${found.usable}`,
      least_sum: `⌈${found.opened} × 5 ÷ 4⌉ + ${superuser_reserved} + ${reserved} = ${found.least ?? TOO_MANY}`,
      files_sum: given.replicas
        ? `${found.max_client_conn} + ${given.pairs} × ${size} + ${OTHER_FILES} = ${found.open_files}`
        : NONE,
      client_sum: given.replicas ? `⌈${found.clients} × 5 ÷ 4⌉ = ${found.max_client_conn}` : NONE,
      busy_sum: `${given.rate} × ${given.db_ms} ÷ 1000 = ${Number(found.busy.toPrecision(6))}`,
    };
  };

  const verdict = ({ band, opened, usable }) => {
    if (band === "too many") return `Too many: ${opened} connections, and ${usable} usable slots.`;
    const slots = `${opened} of ${usable} usable slots are taken at the worst moment.`;
    return band === "tight" ? `Tight: ${slots} Leave a fifth free.` : `Fits: ${slots}`;
  };

  const write = (element, text) => element.textContent !== text && (element.textContent = text); // else it is said again

  const show = (given) => {
    const found = plan(given);
    const queues = given.replicas || given.pool;
    const shown = {
      ...found,
      ...sums(given, found),
      needed: queues ? found.needed : "no pool",
      wait: queues ? ms(found.wait) : "none: each thread has its own",
      least: found.least ?? TOO_MANY,
      max_client_conn: given.replicas ? found.max_client_conn : NONE,
      open_files: given.replicas ? found.open_files : NONE,
    };
    by("verdict").dataset.band = found.band;
    write(by("verdict"), verdict(found));
    by("bar").style.setProperty("--share", Math.min(1.25, found.opened / found.usable));
    for (const cell of place.querySelectorAll("[data-shows]")) cell.textContent = shown[cell.dataset.shows];
    const values = settings(given);
    for (const { figure, name, output, text } of files) {
      figure.hidden = !values[name];
      if (values[name]) output.textContent = fill(text, values[name]);
    }
  };

  const read = () => Object.fromEntries(inputs.map(({ name, value }) => [name, value]));

  const answer = () => {
    const wrong = refusals(read(), fields);
    for (const input of inputs) {
      write(by(`${input.name}-wrong`), wrong[input.name] ?? "");
      input.ariaInvalid = input.name in wrong;
    }
    const marked = inputs.filter(({ name }) => name in wrong).map((input) => input.labels[0].textContent);
    by("found").hidden = marked.length > 0;
    if (!marked.length) return show(numbers(read()));
    by("verdict").dataset.band = "";
    write(by("verdict"), `No result yet. Look at: ${marked.join(", ")}.`);
  };

  // What differs from the defaults is in the address, so that it can be shared.
  const remember = () => {
    answer();
    const changed = inputs.filter((input) => input.value !== input.defaultValue);
    const query = new URLSearchParams(changed.map(({ name, value }) => [name, value])).toString();
    history.replaceState(null, "", location.pathname + (query && `?${query}`) + location.hash);
  };

  for (const [name, value] of new URLSearchParams(location.search)) {
    const field = inputs.find((input) => input.name === name);
    if (field) field.value = value;
  }
  answer();
  form.addEventListener("input", remember);
  form.addEventListener("reset", () => setTimeout(remember)); // the fields change after this event
  form.addEventListener("submit", (event) => event.preventDefault());

  let quiet;
  const say = (text) => {
    by("said").textContent = text;
    clearTimeout(quiet);
    quiet = setTimeout(() => (by("said").textContent = ""), 5000);
  };
  for (const button of place.querySelectorAll("[data-copies]")) {
    button.addEventListener("click", async () => {
      const file = files.find(({ figure }) => figure.contains(button));
      try {
        await navigator.clipboard.writeText(file ? file.output.textContent : location.href);
        say(`Copied ${file ? file.name : "the link"}`);
      } catch (error) {
        say(`Nothing was copied: ${error.message}`);
      }
    });
  }

  // For the test that compares them with the Python functions.
  globalThis.calculator = { fields, refusals, numbers, plan, settings, fill, sums };
})();
