/** The live page: one canvas a lifetime, drawn as events arrive. */
export const LIVE_PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Everlong · lifelong run</title><style>
body{margin:0;background:#f8fafc;color:#0f172a;font:15px/1.5 ui-sans-serif,system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px}h1{font-size:22px;margin:0 0 12px}
section{background:#fff;border:1px solid #e2e8f0;border-radius:10px;padding:14px 18px;margin:14px 0}
canvas{width:100%;height:220px;display:block}p{margin:4px 0;color:#475569;font-size:13px}b{color:#0f172a}
</style></head><body><main><h1>Lifelong run</h1><div id="lives"></div></main><script>
const colors=["#0072b2","#d55e00","#009e73","#cc79a7","#b8860b","#56b4e9","#7f3c8d","#5b6770"];
const lives=new Map();
function life(id){
  if(lives.has(id))return lives.get(id);
  const s=document.createElement("section"),head=document.createElement("p"),c=document.createElement("canvas"),foot=document.createElement("p");
  s.append(head,c,foot);document.getElementById("lives").append(s);
  const l={id,head,c,foot,points:[],blocks:[],tasks:[],title:"",state:"",dirty:true,count:0};
  lives.set(id,l);return l;
}
function text(node,parts){node.replaceChildren(...parts.map(([t,b])=>{const e=document.createElement(b?"b":"span");e.textContent=t;return e}))}
function draw(l){
  const w=l.c.clientWidth*devicePixelRatio,h=l.c.clientHeight*devicePixelRatio;l.c.width=w;l.c.height=h;
  const g=l.c.getContext("2d");if(!l.points.length)return;
  let lo=Infinity,hi=-Infinity;for(const p of l.points){lo=Math.min(lo,p.reward);hi=Math.max(hi,p.reward)}
  if(lo===hi)hi=lo+1;const n=l.points[l.points.length-1].experience+1;
  const X=e=>40+(w-50)*e/n,Y=r=>h-20-(h-30)*(r-lo)/(hi-lo);
  g.fillStyle="rgba(100,116,139,.13)";
  for(let i=0;i<l.blocks.length;i++){const b=l.blocks[i];if(b.kind!=="evaluate")continue;const e=i+1<l.blocks.length?l.blocks[i+1].from:n;g.fillRect(X(b.from),10,X(e)-X(b.from),h-30)}
  const run=new Map();
  for(const p of l.points){const i=l.tasks.indexOf(p.task);g.fillStyle=colors[i%8]+"66";g.fillRect(X(p.experience)-1,Y(p.reward)-1,3,3);
    if(p.kind!=="learn")continue;const r=run.get(p.task);
    if(!r||r.block!==p.block){run.set(p.task,{block:p.block,mean:p.reward,x:X(p.experience)});continue}
    const m=r.mean+(p.reward-r.mean)*.08;g.strokeStyle=colors[i%8];g.lineWidth=2*devicePixelRatio;g.beginPath();g.moveTo(r.x,Y(r.mean));g.lineTo(X(p.experience),Y(m));g.stroke();r.mean=m;r.x=X(p.experience)}
  g.fillStyle="#334155";g.font=11*devicePixelRatio+"px sans-serif";g.fillText(hi.toPrecision(3),2,18);g.fillText(lo.toPrecision(3),2,h-20);
}
new EventSource("/events").onmessage=m=>{
  const e=JSON.parse(m.data),l=life(e.lifetime);l.dirty=true;queue();
  if(e.type==="start")l.title=e.curriculum+" · "+e.agent+" · lifetime "+e.lifetime;
  if(e.type==="block"){l.blocks.push({kind:e.kind,from:l.count});l.state="block "+(e.block+1)+" of "+e.blocks+", "+(e.kind==="learn"?"learning ":"evaluating ")+e.tasks.join(", ")}
  if(e.type==="experience"){if(!l.tasks.includes(e.task))l.tasks.push(e.task);l.points.push(e);l.count=e.experience+1;l.status=e.status}
  if(e.type==="end")l.state=e.skipped?"finished before":"finished: "+e.experiences+" experiences in "+e.seconds.toFixed(1)+" s";
};
function render(){for(const l of lives.values()){if(!l.dirty)continue;l.dirty=false;draw(l);
  text(l.head,[[l.title,true],["  "+l.state,false]]);
  text(l.foot,[...l.tasks.map((t,i)=>["■ "+t+"  ",false]),...Object.entries(l.status||{}).map(([k,v])=>[k+" "+Number(v).toPrecision(4)+"  ",true])]);
  [...l.foot.children].slice(0,l.tasks.length).forEach((n,i)=>n.style.color=colors[i%8]);
}}
let queued=false;
function queue(){if(queued)return;queued=true;requestAnimationFrame(()=>{queued=false;render()})}
</script></body></html>
`;
