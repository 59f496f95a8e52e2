// Starts Swagger UI; a file of its own, since the page's policy forbids scripts within it.

document.documentElement.classList.toggle("dark-mode", matchMedia("(prefers-color-scheme: dark)").matches);
start();

async function start() {
  const spec = await (await fetch("/openapi.json")).json();
  const dataset = await fullest();
  if (dataset) suit(spec, dataset);
  SwaggerUIBundle({
    spec,
    dom_id: "#docs",
    validatorUrl: null, // its default is another host
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
  });
}

// A dataset that is here and may be read; null without one, or where a token is asked for.
async function fullest() {
  const answer = await fetch("/datasets");
  const { datasets = [] } = answer.ok ? await answer.json() : {};
  const readable = datasets.filter((one) => one.readable && one.rows);
  return readable.sort((a, b) => b.rows - a.rows)[0] ?? null;
}

// Requests that only read are filled in for that dataset, so that they can be tried as they stand. Others keep the example's
// name: nobody's data should change by a click.
function suit(spec, dataset) {
  const quoted = (name) => `"${name.replaceAll('"', '""')}"`;
  for (const [path, operations] of Object.entries(spec.paths)) {
    const reading = [operations.get, path.endsWith("/query") ? operations.post : null].filter(Boolean);
    for (const { parameters = [] } of path.includes("datasets/{name}") ? reading : []) {
      for (const one of parameters) {
        if (one.in === "path" && one.name === "name") one.example = dataset.name;
      }
    }
  }
  example(spec.paths["/datasets/{name}/query"], { columns: dataset.columns.slice(0, 3).map((one) => one.name), limit: 5 });
  const [table, time] = [quoted(dataset.name), quoted(dataset.time)];
  const sql = `SELECT * FROM ${table} WHERE ${time} >= $since ORDER BY ${time} LIMIT 5`;
  example(spec.paths["/sql"], { sql, parameters: { since: { type: "timestamp", value: "2000-01-01T00:00:00Z" } } });
}

function example(path, body) {
  path.post.requestBody.content["application/json"].example = body;
}
