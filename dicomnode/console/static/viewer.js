// Slices without a reload: wheel, arrow keys, sliders, a click that shows the place in the other planes.
// Everything here can be done without scripts too, by the links and the form of the page.
"use strict";

(() => {
  const form = document.querySelector("form.viewer");
  if (!form) return;
  document.documentElement.classList.add("scripted");

  const AHEAD = 4;        // slices fetched before they are asked for, on each side
  const KEPT = 240;       // pictures kept; about 0.2 MB each
  const pictures = new Map();
  const planes = new Map();

  // -- what the form says

  function imageQuery() {
    const boxes = [...form.querySelectorAll("input[type=checkbox][name=segments]")];
    const shown = boxes.filter((box) => box.checked).map((box) => box.value);
    const segments = shown.length === boxes.length ? "all" : shown.join(",") || "none";
    const opacity = form.elements.opacity ? form.elements.opacity.value : "0";
    return `window=${form.elements.window.value}&segments=${segments}&opacity=${opacity}`;
  }

  function pageQuery() {
    const pairs = [["plane", form.elements.plane.value]];
    for (const plane of planes.values()) pairs.push([plane.name, plane.index + 1]);
    const image = new URLSearchParams(imageQuery());
    pairs.push(["window", image.get("window")], ["opacity", image.get("opacity")]);
    if (image.get("segments") !== "all") pairs.push(["segments", image.get("segments")]);
    return pairs.map((pair) => pair.join("=")).join("&");
  }

  // -- pictures: decoded before they are shown, so that nothing flickers

  function picture(url) {
    let found = pictures.get(url);
    if (found) {
      pictures.delete(url);
    } else {
      const image = new Image();
      image.src = url;
      found = image.decode().then(() => image);
      found.catch(() => pictures.delete(url));
    }
    pictures.set(url, found);
    while (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
    return found;
  }

  class Plane {
    constructor(figure) {
      this.figure = figure;
      this.screen = figure.querySelector(".screen");
      this.name = figure.dataset.plane;
      this.index = Number(figure.dataset.index);
      this.count = Number(figure.dataset.count);
      this.slider = form.elements[this.name];
      this.turned = 0;
      this.isBusy = false;
      this.lines = ["across", "down"].map((way) => {
        const line = document.createElement("div");
        line.className = `cross ${way}`;
        line.hidden = true;
        this.screen.append(line);
        return line;
      });
    }

    url(index) { return `${form.dataset.slices}/${this.name}/${index}.png?${imageQuery()}`; }

    go(index) {
      const wanted = Math.min(Math.max(Math.round(index), 0), this.count - 1);
      if (wanted === this.index) return;
      this.index = wanted;
      this.tell();
      this.show();
      for (const other of planes.values()) other.cross();
      remember();
    }

    tell() {
      const { axis, first, step } = this.figure.dataset;
      this.slider.value = this.index + 1;
      this.figure.dataset.index = this.index;
      this.figure.querySelector(".count").textContent = `${this.index + 1} of ${this.count}`;
      const mm = (Number(first) + this.index * Number(step)).toFixed(1);
      this.figure.querySelector(".position").textContent = `${axis} ${mm} mm`;
    }

    // One picture at a time is waited for; then the one that is wanted by then.
    async show() {
      if (this.isBusy) return;
      this.isBusy = true;
      let url;
      try {
        do {
          url = this.url(this.index);
          const image = await picture(url);
          const old = this.screen.querySelector("img");
          if (image !== old) {
            image.width = old.width;
            image.height = old.height;
            image.draggable = false;
            old.replaceWith(image);
          }
          image.alt = old.alt.replace(/slice \d+/, `slice ${this.index + 1}`);
          this.figure.classList.remove("failed");
        } while (url !== this.url(this.index));
        for (let step = 1; step <= AHEAD; step += 1) {
          for (const index of [this.index + step, this.index - step]) {
            if (index >= 0 && index < this.count) picture(this.url(index)).catch(() => {});
          }
        }
      } catch {
        this.figure.classList.add("failed");
        this.figure.querySelector(".position").textContent = "cannot be loaded";
      } finally {
        this.isBusy = false;
      }
    }

    // Where the picture lies on the screen, which it fills without being stretched.
    frame() {
      const { clientWidth, clientHeight } = this.screen;
      const [width, height] = [Number(this.figure.dataset.width), Number(this.figure.dataset.height)];
      const scale = Math.min(clientWidth / width, clientHeight / height);
      return { left: (clientWidth - width * scale) / 2, top: (clientHeight - height * scale) / 2,
               width: width * scale, height: height * scale };
    }

    // Which planes run across and down this one, and whether against the picture's direction.
    get axes() {
      const across = this.name === "sagittal" ? "coronal" : "sagittal";
      const down = this.name === "axial" ? "coronal" : "axial";
      return { across: planes.get(across), down: planes.get(down), isHeadUp: this.name !== "axial" };
    }

    pick(event) {
      const bounds = this.screen.getBoundingClientRect();
      const { left, top, width, height } = this.frame();
      const x = (event.clientX - bounds.left - left) / width;
      const y = (event.clientY - bounds.top - top) / height;
      if (x < 0 || x >= 1 || y < 0 || y >= 1) return;
      const { across, down, isHeadUp } = this.axes;
      isCrossed = true;
      across.go(Math.floor(x * across.count));
      const row = Math.floor(y * down.count);
      down.go(isHeadUp ? down.count - 1 - row : row);
      for (const plane of planes.values()) plane.cross();
    }

    cross() {
      const { left, top, width, height } = this.frame();
      const { across, down, isHeadUp } = this.axes;
      const x = left + ((across.index + 0.5) / across.count) * width;
      const part = (down.index + 0.5) / down.count;
      const y = top + (isHeadUp ? 1 - part : part) * height;
      const [horizontal, vertical] = this.lines;
      for (const line of this.lines) line.hidden = !isCrossed;
      Object.assign(horizontal.style, { top: `${y}px`, left: `${left}px`, width: `${width}px` });
      Object.assign(vertical.style, { left: `${x}px`, top: `${top}px`, height: `${height}px` });
    }
  }

  let isCrossed = false;
  let later = 0;

  // The address says what is shown, so that it can be sent to somebody; browsers limit how often.
  function remember() {
    clearTimeout(later);
    later = setTimeout(() => {
      history.replaceState(null, "", `?${pageQuery()}`);
      for (const link of form.querySelectorAll("a.enlarge")) {
        const target = new URLSearchParams(pageQuery());
        target.set("plane", link.closest("figure").dataset.plane);
        link.href = `?${target}`;
      }
    }, 250);
  }

  for (const figure of form.querySelectorAll("figure.plane")) {
    const plane = new Plane(figure);
    planes.set(plane.name, plane);
  }

  // Turning toward the reader is toward the feet, as in a stack of axial slices; else along the index.
  const forward = (plane) => (plane.name === "axial" ? -1 : 1);

  for (const plane of planes.values()) {
    const { figure, screen, slider } = plane;
    const image = screen.querySelector("img");
    pictures.set(plane.url(plane.index), image.decode().then(() => image));
    image.draggable = false;
    slider.addEventListener("input", () => plane.go(Number(slider.value) - 1));
    screen.addEventListener("wheel", (event) => {
      event.preventDefault();
      // A notch is a slice; of a touchpad's many small steps so many together.
      plane.turned += event.deltaMode === 0 ? event.deltaY / 40 : event.deltaY;
      const whole = Math.trunc(plane.turned);
      if (!whole) return;
      plane.turned -= whole;
      plane.go(plane.index + forward(plane) * Math.sign(whole) * Math.min(Math.abs(whole), 3));
    }, { passive: false });
    screen.addEventListener("click", (event) => {
      if (!event.target.matches("a")) plane.pick(event);
    });
    for (const [selector, step] of [[".previous", -1], [".next", 1]]) {
      const old = figure.querySelector(selector);
      const button = document.createElement("button");
      button.type = "button";
      button.className = old.className;
      button.textContent = old.textContent;
      button.setAttribute("aria-label", `${step < 0 ? "Previous" : "Next"} ${plane.name} slice`);
      button.addEventListener("click", () => plane.go(plane.index + step));
      old.replaceWith(button);
    }
  }

  // Arrow keys turn the large plane wherever the focus is, but where they mean something else.
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const near = event.target.closest ? event.target.closest("figure.plane") : null;
    const plane = planes.get(near ? near.dataset.plane : form.elements.plane.value);
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10 };
    if (event.key in steps) plane.go(plane.index + forward(plane) * steps[event.key]);
    else if (event.key === "Home" || event.key === "End") {
      plane.go((event.key === "Home") === (forward(plane) > 0) ? 0 : plane.count - 1);
    } else return;
    event.preventDefault();
  });

  form.addEventListener("input", (event) => {
    if (event.target.name === "opacity") {
      form.querySelector(".opacity output").textContent = `${event.target.value} %`;
    }
    if (["window", "segments", "opacity"].includes(event.target.name)) {
      for (const plane of planes.values()) plane.show();
      remember();
    }
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  new ResizeObserver(() => { for (const plane of planes.values()) plane.cross(); }).observe(form);
  for (const plane of planes.values()) { plane.show(); }
  remember();
})();
