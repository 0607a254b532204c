// The volume and its segments in NiiVue: three planes and three dimensions.
"use strict";

(async () => {
  const stage = document.getElementById("stage");
  const canvas = document.getElementById("canvas");
  const controls = document.getElementById("controls");
  const status = document.getElementById("status");
  const segments = JSON.parse(stage.dataset.described);
  const MAX_SIDE = 256;     // of graphics memory NiiVue needs 4 bytes a voxel and volume
  const LUNG_WINDOW = [-1350, 150];

  const say = (text) => {
    status.textContent = text;
    status.hidden = !text;
  };

  if (!document.createElement("canvas").getContext("webgl2")) {
    say("This browser has no WebGL 2, so there is no third dimension. The page of slices needs none.");
    return;
  }
  say("Loading the volume…");

  async function load(path) {
    const answer = await fetch(`${path}?max_side=${MAX_SIDE}`);
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Error(problem.detail || `the server answered ${answer.status}`);
    }
    return answer.arrayBuffer();
  }

  // Lungs are drawn like glass, so that what lies in them is seen.
  const table = (shown) => ({
    R: [0, ...segments.map((each) => each.rgb[0])],
    G: [0, ...segments.map((each) => each.rgb[1])],
    B: [0, ...segments.map((each) => each.rgb[2])],
    A: [0, ...segments.map((each) => (!shown.has(each.number) ? 0 : each.abnormal ? 255 : hasAbnormal ? 40 : 140))],
    I: [0, ...segments.map((each) => each.number)],
    labels: ["", ...segments.map((each) => each.label)],
  });
  const hasAbnormal = segments.some((each) => each.abnormal);

  try {
    const [ct, labels] = await Promise.all([
      load(stage.dataset.ct),
      segments.length ? load(stage.dataset.segments) : null,
    ]);
    const viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.83, 0.47, 0.8],
      crosshairWidth: 0.6,
      show3Dcrosshair: false,
      isColorbar: false,
      isOrientCube: false,
      multiplanarForceRender: true,
      dragAndDropEnabled: false,
      loadingText: "",
      textHeight: 0.035,
    });
    await viewer.attachToCanvas(canvas);
    viewer.setRadiologicalConvention(true);
    viewer.setSliceMM(true);
    const add = async (content, name, options) => {
      const image = await niivue.NVImage.loadFromUrl({ url: content, name, ...options });
      viewer.addVolume(image);
      return image;
    };
    await add(ct, "ct.nii.gz", { colormap: "gray", cal_min: LUNG_WINDOW[0], cal_max: LUNG_WINDOW[1] });
    if (labels) await add(labels, "segments.nii.gz", { opacity: 0.6 });

    const redraw = () => {
      const isRender = controls.querySelector("[name=layout]:checked").value === "render";
      const boxes = [...controls.querySelectorAll("[name=segment]:checked")];
      const shown = new Set(boxes.map((box) => Number(box.value)));
      if (labels) {
        viewer.volumes[1].setColormapLabel(table(shown));
        viewer.updateGLVolume();
      }
      viewer.setSliceType(isRender ? viewer.sliceTypeRender : viewer.sliceTypeMultiplanar);
    };
    controls.addEventListener("change", redraw);
    redraw();
    viewer.setRenderAzimuthElevation(180, 10);
    controls.hidden = false;
    say("");
    stage.dataset.state = "ready";
  } catch (error) {
    stage.dataset.state = "failed";
    say(`The volume cannot be shown: ${error.message}. The page of slices may still work.`);
  }
})();
