// The volume and its segments in NiiVue: three planes, and the segments in three dimensions.
"use strict";

(async () => {
  const stage = document.getElementById("stage");
  const controls = document.getElementById("controls");
  const status = document.getElementById("status");
  const segments = JSON.parse(stage.dataset.described);
  const hasAbnormal = segments.some((each) => each.abnormal);
  const MAX_SIDE = 256;     // of graphics memory NiiVue needs 4 bytes a voxel and volume
  const LUNG_WINDOW = { cal_min: -1350, cal_max: 150 };

  const say = (text) => {
    status.textContent = text;
    status.hidden = !text;
  };

  if (!document.createElement("canvas").getContext("webgl2")) {
    stage.dataset.state = "failed";
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

  // Colors by value; `alpha` says how much is seen of a segment.
  const table = (alpha) => ({
    R: [0, ...segments.map((each) => each.rgb[0])],
    G: [0, ...segments.map((each) => each.rgb[1])],
    B: [0, ...segments.map((each) => each.rgb[2])],
    A: [0, ...segments.map(alpha)],
    I: [0, ...segments.map((each) => each.number)],
    labels: ["", ...segments.map((each) => each.label)],
  });

  async function open(id, options) {
    const viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.83, 0.47, 0.8],
      crosshairWidth: 1,
      sagittalNoseLeft: true,
      isRadiologicalConvention: true,
      dragAndDropEnabled: false,
      isColorbar: false,
      loadingText: "",
      fontMinPx: 16,
      logLevel: "error",
      ...options,
    });
    await viewer.attachToCanvas(document.getElementById(id));
    viewer.setRadiologicalConvention(true);
    return viewer;
  }

  const add = async (viewer, content, options) => {
    viewer.addVolume(await niivue.NVImage.loadFromUrl({ url: content, ...options }));
  };

  try {
    const [ct, labels] = await Promise.all([
      load(stage.dataset.ct),
      segments.length ? load(stage.dataset.segments) : null,
    ]);
    const planes = await open("planes", { multiplanarLayout: niivue.MULTIPLANAR_TYPE.GRID });
    await add(planes, ct, { name: "ct.nii.gz", colormap: "gray", ...LUNG_WINDOW });
    if (labels) await add(planes, labels, { name: "segments.nii.gz", opacity: 0.5 });
    planes.setMultiplanarLayout(niivue.MULTIPLANAR_TYPE.GRID);
    planes.opts.multiplanarShowRender = niivue.SHOW_RENDER.NEVER;
    planes.setSliceType(planes.sliceTypeMultiplanar);
    planes.scene.crosshairPos = planes.mm2frac(JSON.parse(stage.dataset.place));

    // Without segments the body is what there is to be seen.
    const solid = await open("solid", { show3Dcrosshair: false });
    if (labels) await add(solid, labels, { name: "segments.nii.gz" });
    else await add(solid, ct, { name: "ct.nii.gz", colormap: "ct_bones", cal_min: 100, cal_max: 900 });
    solid.setSliceType(solid.sliceTypeRender);
    solid.setRenderAzimuthElevation(180, 10);
    solid.setScale(1.3);

    const redraw = async () => {
      const boxes = [...controls.querySelectorAll("[name=segment]:checked")];
      const shown = new Set(boxes.map((box) => Number(box.value)));
      if (labels) {
        planes.volumes[1].setColormapLabel(table((each) => (shown.has(each.number) ? 255 : 0)));
        planes.updateGLVolume();
        // Lungs are like glass, so that what lies in them is seen.
        const glass = hasAbnormal && segments.some((each) => each.abnormal && shown.has(each.number)) ? 3 : 255;
        const alpha = (each) => (!shown.has(each.number) ? 0 : each.abnormal ? 255 : glass);
        solid.volumes[0].setColormapLabel(table(alpha));
        solid.updateGLVolume();
      }
      const layout = controls.querySelector("[name=layout]:checked").value;
      if (stage.dataset.layout !== layout) {
        stage.dataset.layout = layout;
        for (const each of [planes, solid]) each.resizeListener();
      }
      planes.drawScene();
      solid.drawScene();
    };
    controls.addEventListener("change", redraw);
    if (labels) await solid.setVolumeRenderIllumination(0.7);
    await redraw();
    controls.hidden = false;
    say("");
    stage.dataset.state = "ready";
  } catch (error) {
    stage.dataset.state = "failed";
    say(`The volume cannot be shown: ${error.message}. The page of slices may still work.`);
  }
})();
