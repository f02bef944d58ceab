// Shows the OpenAPI document of this server. All texts are put in as text, never as markup.

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function kind(schema, schemas) {
  if (schema.$ref) return kind(schemas[schema.$ref.split("/").pop()] ?? {}, schemas);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.anyOf) return [...new Set(schema.anyOf.map((one) => kind(one, schemas)))].join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? {}, schemas)}`;
  return [schema.type ?? "any"].flat().join(" or ");
}

function fieldTable(schema, schemas) {
  const box = element("div", "", "table");
  const table = box.appendChild(element("table"));
  const head = table.appendChild(element("tr"));
  for (const name of ["field", "values", "default", ""]) head.append(element("th", name));
  for (const [name, field] of Object.entries(schema.properties)) {
    const row = table.appendChild(element("tr"));
    row.appendChild(element("td")).append(element("code", name));
    row.append(element("td", kind(field, schemas)));
    const isRequired = schema.required.includes(name);
    row.append(element("td", isRequired ? "required" : field.default === undefined ? "" : JSON.stringify(field.default)));
    row.append(element("td", field.description ?? "", "note"));
  }
  return box;
}

function routeDetails(method, path, operation, schemas) {
  const details = element("details");
  const summary = details.appendChild(element("summary"));
  summary.append(element("span", method.toUpperCase(), "method"), element("code", path), ` ${operation.summary}`);
  for (const parameter of operation.parameters ?? []) {
    const values = (parameter.schema.enum ?? ["text"]).join(", ");
    details.append(element("p", `${parameter.name} (${parameter.in}): ${values}`));
  }
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) details.append(fieldTable(schemas[body.$ref.split("/").pop()], schemas));
  return details;
}

function filter(text) {
  for (const details of document.querySelectorAll("details")) {
    details.hidden = !details.textContent.toLowerCase().includes(text.toLowerCase());
  }
}

const answer = await fetch("openapi.json");
const api = await answer.json();
document.querySelector("#version").textContent = api.info.version;
const routes = document.querySelector("#routes");
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    routes.append(routeDetails(method, path, operation, api.components.schemas));
  }
}
document.querySelector("#filter").addEventListener("input", (event) => filter(event.target.value));
document.body.dataset.ready = "true";
