// Uploads with progress, and folders by drag and drop.  Without it the form works as it is.
"use strict";
(() => {
  const form = document.getElementById("upload");
  if (!form) return;
  const drop = document.getElementById("drop");
  const progress = document.getElementById("progress");
  const bar = document.getElementById("bar");
  const button = form.querySelector("button");
  const inputs = form.querySelectorAll("input[type=file]");
  let dropped = [];
  form.querySelectorAll(".scripted").forEach((each) => { each.hidden = false; });

  const chosen = () => [...inputs].flatMap((input) => [...input.files]).concat(dropped);
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  const total = (files) => files.reduce((sum, file) => sum + file.size, 0);
  const say = (words) => { progress.textContent = words; };
  const tell = () => {
    const files = chosen();
    say(files.length ? `${files.length} files, ${megabytes(total(files))}` : "");
  };

  // A folder gives its entries in portions, until a portion is empty.
  const walk = async (entry) => {
    if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
    const reader = entry.createReader();
    const found = [];
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) return found;
      for (const each of some) found.push(...await walk(each));
    }
  };

  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    say("Reading the folder");
    try {
      for (const entry of entries) dropped.push(...await walk(entry));
      tell();
    } catch (error) {
      say(`The folder cannot be read: ${error.name}`);
    }
  });
  inputs.forEach((input) => input.addEventListener("change", tell));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const files = chosen();
    const most = Number(form.dataset.most);
    if (!files.length) return say("Choose files or a folder first.");
    if (total(files) > most) return say(`At most ${megabytes(most)} at once, found ${megabytes(total(files))}.`);
    const body = new FormData();
    body.append("pipeline", form.elements.pipeline.value);
    files.forEach((file) => body.append("files", file, file.webkitRelativePath || file.name));
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("X-Form-Token", form.elements.form_token.value);
    request.responseType = "document";
    const end = (words) => { button.disabled = false; bar.hidden = true; say(words); };
    request.upload.addEventListener("progress", (sent) => {
      if (!sent.lengthComputable) return;
      bar.value = sent.loaded / sent.total;
      say(sent.loaded < sent.total
        ? `${megabytes(sent.loaded)} of ${megabytes(sent.total)} sent`
        : "All is sent; it is being stored.");
    });
    request.addEventListener("error", () => end("The connection broke. What was stored stays stored; upload again."));
    request.addEventListener("load", () => {
      const found = request.response && request.response.getElementById("outcome");
      if (request.status !== 200 || !found) {
        const said = request.response && request.response.querySelector("main p");
        return end(said ? said.textContent : `The upload failed with status ${request.status}.`);
      }
      document.getElementById("outcome").replaceWith(document.adoptNode(found));
      dropped = [];
      inputs.forEach((input) => { input.value = ""; });
      end("");
      document.getElementById("outcome-title").focus();
    });
    button.disabled = true;
    bar.hidden = false;
    bar.value = 0;
    request.send(body);
  });
})();
